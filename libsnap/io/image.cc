// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

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

void Image::start_writeback(uint64_t offset, uint64_t length) {
  length = offset < size() ? std::min(length, size() - offset) : 0;
  while (length > 0) {
    const auto extent = extent_at(offset, length);
    if (!extent) return;
    if (!extent->zero && extent->file != nullptr && extent->file_offset) {
      extent->file->start_writeback(*extent->file_offset, extent->length);
    }
    offset += extent->length;
    length -= extent->length;
  }
}

Result<void> Image::read_medium(uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    SNAP_ASSIGN(const Extent extent, extent_at(offset, out.size()));
    const auto piece = out.first(extent.length);
    // A hole, too: the cache may have what was to fill it.
    if (extent.file != nullptr && extent.file_offset) {
      SNAP_TRY(extent.file->read_medium(*extent.file_offset, piece));
    } else {
      SNAP_TRY(read_at(offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

RawImage::RawImage(File& file, uint64_t size) : file_(file), size_(size) {
  SNAP_CHECK(size <= file.size());
}

RawImage::RawImage(std::shared_ptr<File> file)
    : owned_(std::move(file)), file_(*owned_), size_(file_.size()) {}

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

Result<Extent> RawImage::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  return file_.extent_at(offset, std::min(limit, size_ - offset));
}

}  // namespace snaptool
