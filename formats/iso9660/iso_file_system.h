// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "libsnap/access/file_system.h"

namespace snaptool::iso9660 {

// ISO 9660, with Rock Ridge, else with Joliet, for reading; formats/iso9660/FORMAT.md says what of
// them. An id is where a directory record lies. Of what is damaged, the rest is visited all the
// same: the visit_ functions return the first error at their end.

// Of the first 36 KiB of an image.
bool has_magic(std::span<const std::byte> head);
// Requires: both outlive what is returned. Errors: kCorruption; kUnsupported; those of Image.
Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel);

}  // namespace snaptool::iso9660
