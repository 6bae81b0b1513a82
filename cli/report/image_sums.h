// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/command_table.h"
#include "libsnap/ops/verify.h"

namespace snaptool::cli {

// What became of the sums of an image, as `verify` reports it; returns its exit status.
Result<int> report_image(Invocation& invocation, const ops::VerifiedImage& image,
                         const std::string& name);

}  // namespace snaptool::cli
