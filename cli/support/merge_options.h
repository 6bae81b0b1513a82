// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"
#include "libsnap/ops/merge.h"

namespace snaptool::cli {

// What the options and operands of merge ask for. Errors: those of operands; kInvalidArgument.
Result<ops::MergeRequest> merge_request(const Invocation& invocation);

}  // namespace snaptool::cli
