// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"
#include "libsnap/access/door.h"

namespace snaptool::cli {

// Writes a range of the image to --out: standard output, a pipe, or a new file, in which holes stay
// holes. Returns the exit status. Errors: those of Image, StreamTarget and Door::make_file.
Result<int> write_bytes(const Invocation& invocation, access::Door& door, Image& image,
                        const ByteRange& range);

}  // namespace snaptool::cli
