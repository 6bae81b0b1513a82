// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/image_writer.h"

#include <algorithm>

#include "libsnap/io/file.h"

namespace snaptool::access {

Result<void> forget_old_image(File& file) {
  // No more: tables that are gone before the magic is would make it an image with other content.
  const uint64_t length = std::min(file.size(), kSectorSize);
  if (length == 0) return {};
  SNAP_TRY(file.zero_at(0, length, ZeroMode::kKeep));
  SNAP_TRY(file.zero_at(file.size() - length, length, ZeroMode::kKeep));
  return file.flush();
}

}  // namespace snaptool::access
