// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/memory_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/check.h"

namespace snaptool {

MemoryFile::MemoryFile(std::string name, std::span<const std::byte> content)
    : MemoryFile(std::move(name), content.size()) {
  SNAP_CHECK(MemoryFile::write_at(0, content).has_value());
}

Result<void> MemoryFile::read_at(uint64_t offset, std::span<std::byte> out) {
  if (offset > size_ || out.size() > size_ - offset) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' ends at byte {}, but {} bytes at byte {} are needed", name_,
                             size_, out.size(), offset));
  }
  const std::lock_guard lock(mutex_);
  while (!out.empty()) {
    const uint64_t in_page = offset % kPage;
    const size_t piece = std::min<size_t>(out.size(), kPage - in_page);
    const auto page = pages_.find(offset / kPage);
    if (page == pages_.end()) {
      std::memset(out.data(), 0, piece);
    } else {
      std::memcpy(out.data(), page->second->data() + in_page, piece);
    }
    out = out.subspan(piece);
    offset += piece;
  }
  return {};
}

Result<void> MemoryFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(offset <= size_ && data.size() <= size_ - offset);
  const std::lock_guard lock(mutex_);
  while (!data.empty()) {
    const uint64_t in_page = offset % kPage;
    const size_t piece = std::min<size_t>(data.size(), kPage - in_page);
    auto& page = pages_[offset / kPage];
    if (!page) page = std::make_unique<Page>();
    std::memcpy(page->data() + in_page, data.data(), piece);
    data = data.subspan(piece);
    offset += piece;
  }
  return {};
}

Result<void> MemoryFile::zero_at(uint64_t offset, uint64_t length, ZeroMode mode) {
  SNAP_CHECK(offset <= size_ && length <= size_ - offset);
  const std::lock_guard lock(mutex_);
  const uint64_t end = offset + length;
  for (auto it = pages_.lower_bound(offset / kPage);
       it != pages_.end() && it->first * kPage < end;) {
    const uint64_t page_start = it->first * kPage;
    const uint64_t from = std::max(offset, page_start);
    const uint64_t to = std::min(end, page_start + kPage);
    if (mode == ZeroMode::kPunch && to - from == kPage) {
      it = pages_.erase(it);
      continue;
    }
    std::memset(it->second->data() + (from - page_start), 0, to - from);
    ++it;
  }
  return {};
}

Result<void> MemoryFile::resize(uint64_t size) {
  if (size < size_) SNAP_TRY(zero_at(size, size_ - size, ZeroMode::kPunch));
  size_ = size;
  return {};
}

Result<Extent> MemoryFile::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  limit = std::min(limit, size_ - offset);
  const std::lock_guard lock(mutex_);
  uint64_t page = offset / kPage;
  const auto it = pages_.lower_bound(page);
  if (it == pages_.end()) return Extent{limit, true, 0, this, offset};
  if (it->first > page) {
    return Extent{std::min(limit, it->first * kPage - offset), true, 0, this, offset};
  }
  for (auto next = it; next != pages_.end() && next->first == page; ++next) ++page;
  return Extent{std::min(limit, page * kPage - offset), false, 0, this, offset};
}

}  // namespace snaptool
