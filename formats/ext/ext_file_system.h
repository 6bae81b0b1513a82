// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "libsnap/access/file_system.h"

namespace snaptool::ext {

// ext2, ext3 and ext4, for reading; formats/ext/FORMAT.md says what of them. Of what is damaged,
// the rest is visited all the same: the visit_ functions return the first error at their end.
// Reserved inodes but the root, and those that nobody has a name for (of orphans' lists, quotas,
// values of attributes) can be asked for, but are not visited.

// Of the first 2 KiB of an image.
bool has_magic(std::span<const std::byte> head);
// Requires: both outlive what is returned. Errors: kCorruption; kUnsupported; those of Image.
Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel);

}  // namespace snaptool::ext
