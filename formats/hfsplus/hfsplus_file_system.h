// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "libsnap/access/file_system.h"

namespace snaptool::hfsplus {

// HFS+ and HFSX, for reading; formats/hfsplus/FORMAT.md says what of them. Of what is damaged, the
// rest is visited all the same: the visit_ functions return the first error at their end.

// Of the first 2 KiB of an image; also of HFS alone, which is then refused by name.
bool has_magic(std::span<const std::byte> head);
// Requires: both outlive what is returned. Errors: kCorruption; kUnsupported; those of Image.
Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel);

}  // namespace snaptool::hfsplus
