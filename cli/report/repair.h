// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "cli/support/invocation.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {

// What a repair prints.

// What the user must know of the store before its content is trusted.
void warn_of_repair(const Invocation& invocation, const Salvage& salvage);
// What was kept, or, without `out`, would be.
Result<void> report_repair(const Invocation& invocation, const ops::RepairJob& job,
                           const std::optional<std::string>& out);

}  // namespace snaptool::cli
