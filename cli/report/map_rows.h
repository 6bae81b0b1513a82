// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"
#include "cli/support/text_output.h"
#include "libsnap/io/image.h"

namespace snaptool::cli {

// Prints the extents of an image, those that continue each other as one row: for a person, or as
// json. Errors: those of Image and TextOutput; kInterrupted.
Result<void> write_rows(const Invocation& invocation, Image& image, TextOutput& out);

}  // namespace snaptool::cli
