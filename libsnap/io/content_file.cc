// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/content_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "libsnap/base/check.h"

namespace snaptool {

std::unique_lock<std::mutex> ContentFile::turn() {
  return access_ == Access::kRead ? std::unique_lock<std::mutex>() : std::unique_lock(mutex_);
}

Result<void> ContentFile::check_within(uint64_t offset, uint64_t length) const {
  if (offset <= size() && length <= size() - offset) return {};
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' ends at byte {}, but {} bytes at byte {} are needed", name(),
                           size(), length, offset));
}

Result<void> ContentFile::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_within(offset, out.size()));
  const auto lock = turn();
  return image_.read_at(offset, out);
}

Result<void> ContentFile::read_medium(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_within(offset, out.size()));
  const auto lock = turn();
  return image_.read_medium(offset, out);
}

Result<void> ContentFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(access_ == Access::kReadWrite);
  const auto lock = turn();
  return image_.write_at(offset, data);
}

Result<void> ContentFile::zero_at(uint64_t offset, uint64_t length, ZeroMode /*mode*/) {
  const std::vector<std::byte> zeros(std::min(length, kIoPiece));
  for (uint64_t done = 0; done < length; done += zeros.size()) {
    const uint64_t piece = std::min<uint64_t>(length - done, zeros.size());
    SNAP_TRY(write_at(offset + done, std::span(zeros).first(piece)));
  }
  return {};
}

Result<void> ContentFile::resize(uint64_t /*size*/) {
  return Error(ErrorCode::kUnsupported, fmt::format("the size of '{}' is fixed", name()));
}

Result<void> ContentFile::flush() {
  const auto lock = turn();
  return image_.flush();
}

Result<Extent> ContentFile::extent_at(uint64_t offset, uint64_t limit) {
  const auto lock = turn();
  return image_.extent_at(offset, limit);
}

void ContentFile::will_need(uint64_t offset, uint64_t length) {
  const auto lock = turn();
  image_.will_need(offset, length);
}

void ContentFile::start_writeback(uint64_t offset, uint64_t length) {
  const auto lock = turn();
  image_.start_writeback(offset, length);
}

}  // namespace snaptool
