// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/salvage_image.h"

#include <algorithm>
#include <cstring>

namespace snaptool {

Result<void> SalvageImage::read_at(uint64_t offset, std::span<std::byte> out) {
  if (image_.read_at(offset, out)) return {};
  // Sector by sector, so that as little as can be is lost.
  for (uint64_t at = 0; at < out.size();) {
    const uint64_t length =
        std::min<uint64_t>(kSectorSize - (offset + at) % kSectorSize, out.size() - at);
    const auto sector = out.subspan(at, length);
    if (!image_.read_at(offset + at, sector)) {
      std::memset(sector.data(), 0, sector.size());
      add(offset + at, length);
    }
    at += length;
  }
  return {};
}

Result<Extent> SalvageImage::extent_at(uint64_t offset, uint64_t limit) {
  auto extent = image_.extent_at(offset, limit);
  if (extent) return extent;
  // What is there is not known; reading will tell.
  return Extent{std::min(limit, kSectorSize - offset % kSectorSize), false, 0, nullptr,
                std::nullopt};
}

void SalvageImage::add(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex_);
  bytes_ += length;
  for (ByteRange& range : ranges_) {
    if (range.offset + range.length != offset) continue;
    range.length += length;
    join_next(range);
    return;
  }
  if (ranges_.size() < kMostRanges) ranges_.push_back({offset, length});
}

// Threads read one range in pieces: where two of them meet, they become one, so that what is kept
// is not used up by them.
void SalvageImage::join_next(ByteRange& range) {
  const auto next = std::find_if(ranges_.begin(), ranges_.end(), [&](const ByteRange& other) {
    return other.offset == range.offset + range.length;
  });
  if (next == ranges_.end()) return;
  range.length += next->length;
  ranges_.erase(next);
}

std::vector<ByteRange> SalvageImage::unreadable() const {
  const std::lock_guard lock(mutex_);
  std::vector<ByteRange> sorted = ranges_;
  std::sort(sorted.begin(), sorted.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
  std::vector<ByteRange> merged;
  for (const ByteRange& range : sorted) {
    if (!merged.empty() && merged.back().offset + merged.back().length == range.offset) {
      merged.back().length += range.length;
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

uint64_t SalvageImage::unreadable_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace snaptool
