// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/metadata_image.h"

#include <algorithm>
#include <cstring>

namespace snaptool {

MetadataImage::Stretch MetadataImage::stretch_at(uint64_t offset) const {
  const uint64_t bytes = layout_.chunk_bytes();
  const uint64_t chunk = offset / bytes;
  if (chunk < kNumSnapshotHdrChunks) return {true, bytes - offset};
  const uint64_t stride = layout_.exceptions_per_area() + 1;
  const uint64_t area = (chunk - kNumSnapshotHdrChunks) / stride;
  const uint64_t into_stride = (chunk - kNumSnapshotHdrChunks) % stride;
  if (area < areas_ && into_stride == 0) return {true, bytes - offset % bytes};
  if (area + 1 >= areas_) return {false, size() - offset};
  return {false, (stride - into_stride) * bytes - offset % bytes};
}

Result<void> MetadataImage::read_at(uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const Stretch stretch = stretch_at(offset);
    const auto piece = out.first(std::min<uint64_t>(out.size(), stretch.length));
    if (stretch.metadata) {
      SNAP_TRY(cow_.read_at(offset, piece));
    } else {
      std::memset(piece.data(), 0, piece.size());
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

Result<Extent> MetadataImage::extent_at(uint64_t offset, uint64_t limit) {
  const Stretch stretch = stretch_at(offset);
  Extent extent;
  extent.length = std::min({limit, stretch.length, size() - offset});
  extent.zero = !stretch.metadata;
  extent.file = &cow_;
  extent.file_offset = offset;
  return extent;
}

}  // namespace snaptool
