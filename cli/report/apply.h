// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/support/invocation.h"
#include "libsnap/ops/apply.h"

namespace snaptool::cli {

// What an apply of so many diffs did.
Result<void> report_apply(const Invocation& invocation, size_t diffs, const std::string& target,
                          const ops::ApplyResult& result);
// The command that goes on where this one stopped.
std::string resume_apply(const Invocation& invocation, const std::vector<std::string>& diffs);

}  // namespace snaptool::cli
