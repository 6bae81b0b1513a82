// SPDX-License-Identifier: Apache-2.0
#include "formats/common/block_update.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"

namespace snaptool {

Result<void> BlockUpdate::go_to(uint64_t block) {
  if (block_ && block_->number == block) return {};
  if (block_) SNAP_TRY(leave());
  SNAP_ASSIGN(const auto found, find(block));
  block_ = {block, found.value_or(0)};
  if (found) return {};
  SNAP_ASSIGN(block_->place, append());
  SNAP_TRY(file_.flush());
  SNAP_TRY(note(block, block_->place));
  return file_.flush();
}

Result<void> BlockUpdate::place(access::WritePiece& piece) {
  const auto is_named = [&](uint64_t at) {
    return piece.units[at / kSectorSize] != access::UnitKind::kAbsent;
  };
  for (uint64_t at = 0; at < piece.length;) {
    if (!is_named(at)) {
      at += kSectorSize;
      continue;
    }
    const uint64_t within = (piece.offset + at) % block_size_;
    const uint64_t most = std::min(piece.length, at + block_size_ - within);
    uint64_t end = at + kSectorSize;
    while (end < most && is_named(end)) end += kSectorSize;
    end = std::min(end, most);
    if (!started_) SNAP_TRY(start());
    started_ = true;
    SNAP_TRY(go_to((piece.offset + at) / block_size_));
    take(within, end - at);
    piece.add_extent(block_->place + within, piece.data.subspan(at, end - at));
    at = end;
  }
  return {};
}

Result<void> BlockUpdate::finish() {
  if (block_) SNAP_TRY(leave());
  SNAP_TRY(file_.flush());
  return end();
}

Result<void> check_apart(const File& file, std::vector<ByteRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const ByteRange& range : ranges) {
    const bool there = range.offset <= file.size() && range.length <= file.size() - range.offset;
    if (!there || range.offset < end) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}': what it has at byte {} {}: it is not written to", file.name(),
                               range.offset,
                               there ? "lies in something else" : "goes beyond the file's end"));
    }
    end = range.offset + range.length;
  }
  return {};
}

}  // namespace snaptool
