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

// Calls `visit` for each place in a file that the range lies in; what is in none is left out, and
// so is all from the first error on.
template <typename Visit>
void for_each_place(Image& image, uint64_t offset, uint64_t length, const Visit& visit) {
  length = offset < image.size() ? std::min(length, image.size() - offset) : 0;
  while (length > 0) {
    const auto extent = image.extent_at(offset, length);
    if (!extent) return;
    if (!extent->zero && extent->file != nullptr && extent->file_offset) {
      visit(*extent->file, *extent->file_offset, extent->length);
    }
    offset += extent->length;
    length -= extent->length;
  }
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
  for_each_place(*this, offset, length,
                 [](File& file, uint64_t at, uint64_t size) { file.start_writeback(at, size); });
}

void Image::drop_cache(uint64_t offset, uint64_t length) {
  for_each_place(*this, offset, length,
                 [](File& file, uint64_t at, uint64_t size) { file.drop_cache(at, size); });
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
