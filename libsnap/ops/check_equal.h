// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "libsnap/access/context.h"
#include "libsnap/io/image.h"

namespace snaptool::ops {

// That what was made ("the new file") is what it was made from ("the view"): all of both is read,
// whatever file systems say of holes, or of blocks that two files share. Errors: kCorruption where
// they differ; those of Image; kInterrupted.
Result<void> check_equal(const access::Context& context, Image& source, Image& made,
                         std::string_view what, std::string_view of);

}  // namespace snaptool::ops
