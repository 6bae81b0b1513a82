// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/image.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

Error not_writable(const Image& image) {
  return Error(ErrorCode::kUnsupported, fmt::format("'{}' cannot be written", image.name()));
}

}  // namespace

Result<void> Image::write_at(uint64_t /*offset*/, std::span<const std::byte> /*data*/) {
  return not_writable(*this);
}

Result<void> Image::punch_at(uint64_t /*offset*/, uint64_t /*length*/) {
  return not_writable(*this);
}

Result<void> Image::flush() { return not_writable(*this); }

ImageExtent image_extent(const FileExtent& extent, const File& file, uint64_t offset) {
  if (extent.file != nullptr) {
    return {extent.length, extent.hole, extent.depth, extent.file, extent.file_offset};
  }
  return {extent.length, extent.hole, 0, &file, offset};
}

RawImage::RawImage(File& file, uint64_t size) : file_(file), size_(size) {
  SNAP_CHECK(size <= file.size());
}

Result<void> RawImage::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= size_ && out.size() <= size_ - offset);
  return file_.read_at(offset, out);
}

Result<void> RawImage::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(offset <= size_ && data.size() <= size_ - offset);
  return file_.write_at(offset, data);
}

Result<void> RawImage::punch_at(uint64_t offset, uint64_t length) {
  SNAP_CHECK(offset <= size_ && length <= size_ - offset);
  return file_.zero_at(offset, length, ZeroMode::kPunch);
}

Result<ImageExtent> RawImage::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  SNAP_ASSIGN(const FileExtent extent, file_.extent_at(offset, std::min(limit, size_ - offset)));
  return image_extent(extent, file_, offset);
}

}  // namespace snaptool
