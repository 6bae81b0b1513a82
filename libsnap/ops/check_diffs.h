// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "libsnap/access/change_file.h"
#include "libsnap/access/open_image.h"
#include "libsnap/diff/apply.h"

namespace snaptool::ops {

struct CheckedDiffs {
  ChainCheck chain;
  bool applied = false;  // the image has all that they change already
};

// Reads all of the diffs, the oldest first, and checks that they are whole and that each follows
// the one before; with an image, also that an apply to it would go through. Writes nothing.
// Requires: there is a diff. Errors: those of Chain::open and Apply::check; kInvalidArgument for a
// full diff, which is for no image.
Result<CheckedDiffs> check_diffs(const access::Context& context,
                                 const std::vector<std::unique_ptr<access::ChangeFile>>& diffs,
                                 access::OpenImage* image, Linking linking);

}  // namespace snaptool::ops
