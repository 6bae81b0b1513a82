// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"
#include "libsnap/ops/export.h"

namespace snaptool::cli {

// What the options and operands of export ask for. Errors: those of operands; kInvalidArgument.
Result<ops::ExportRequest> export_request(const Invocation& invocation);

}  // namespace snaptool::cli
