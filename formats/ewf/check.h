// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ewf/contents.h"
#include "libsnap/access/image_driver.h"

namespace snaptool::ewf {

// Reads all chunks, and compares their sums, and of the whole image those that are stored; tells
// what could not be read when it was acquired. Requires: a volume. Errors: kIo; kInterrupted.
Result<access::SumsFound> check_contents(const Contents& contents, const Job& job);

}  // namespace snaptool::ewf
