// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/view/origin.h"

#include <algorithm>

#include "libsnap/base/check.h"

namespace snaptool {

void Origin::remove(const Snapshot& snapshot) { std::erase(snapshots_, &snapshot); }

const Snapshot* Origin::first_without_room(uint64_t offset, uint64_t length) const {
  for (const Snapshot* snapshot : snapshots_) {
    if (snapshot->valid() && snapshot->exceptions_needed(offset, length) > snapshot->room()) {
      return snapshot;
    }
  }
  return nullptr;
}

// Writes to every target what it needs of `bytes`, which are the origin's from `offset` on.
Result<void> Origin::hand_out(std::vector<Target>& targets, uint64_t offset,
                              std::span<const std::byte> bytes) {
  const uint64_t end = offset + bytes.size();
  for (Target& target : targets) {
    const auto& ops = target.copies.ops;
    while (target.next < ops.size() && ops[target.next].source < end) {
      const CopyOp& op = ops[target.next];
      const uint64_t from = std::max(op.source, offset);
      const uint64_t to = std::min(op.source + op.length, end);
      if (from < to) {
        SNAP_TRY(target.snapshot->write_to_cow(op.target + (from - op.source),
                                               bytes.subspan(from - offset, to - from)));
      }
      if (op.source + op.length > end) break;
      ++target.next;
    }
  }
  return {};
}

// Reads what the targets need, each byte once, and hands it out.
Result<void> Origin::copy(std::vector<Target>& targets) {
  buffer_.resize(kIoPiece);
  uint64_t at = 0;
  while (true) {
    // The next stretch that somebody needs.
    uint64_t start = UINT64_MAX;
    for (const Target& target : targets) {
      if (target.next < target.copies.ops.size()) {
        start = std::min(start, std::max(at, target.copies.ops[target.next].source));
      }
    }
    if (start == UINT64_MAX) return {};
    uint64_t end = start;
    for (bool grown = true; grown && end - start < kIoPiece;) {
      grown = false;
      for (const Target& target : targets) {
        const auto& ops = target.copies.ops;
        for (size_t i = target.next; i < ops.size() && ops[i].source <= end; ++i) {
          if (ops[i].source + ops[i].length <= end) continue;
          end = ops[i].source + ops[i].length;
          grown = true;
        }
      }
    }
    end = std::min(end, start + kIoPiece);
    const auto bytes = std::span(buffer_).first(end - start);
    SNAP_TRY(image_.read_at(start, bytes));
    SNAP_TRY(hand_out(targets, start, bytes));
    at = end;
  }
}

Result<void> Origin::copy_out(std::span<const ByteRange> ranges) {
  std::vector<Target> targets;
  // One that could not keep something must not lose more by it.
  for (const Snapshot* snapshot : snapshots_) {
    if (const auto& failure = snapshot->failure()) return *failure;
  }
  for (Snapshot* snapshot : snapshots_) {
    Snapshot::CopyOut copies = snapshot->prepare_copy_out(ranges);
    // What it has in memory only must be on disk, too, before its origin changes.
    if (copies.ops.empty() && !copies.full && !snapshot->has_pending()) continue;
    targets.push_back({snapshot, std::move(copies)});
  }
  if (targets.empty()) return {};
  if (auto copied = copy(targets); !copied) {
    for (const Target& target : targets) target.snapshot->abandon(copied.error());
    return copied;
  }
  for (const Target& target : targets) SNAP_TRY(target.snapshot->commit_copy_out(target.copies));
  return {};
}

// Runs from the end of the list, each within its area: the order in which the kernel's merge asks.
Result<void> Origin::copy_out_for_merge(PersistentStore& store, const Cancel& cancel) {
  const uint64_t per_area = store.layout().exceptions_per_area();
  const uint64_t chunk_bytes = store.chunk_bytes();
  const uint64_t group = std::max<uint64_t>(1, in_flight_ / chunk_bytes);
  uint64_t end = store.exceptions();
  while (end > 0) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const std::vector<Exception> batch, store.prepare_merge(end, group));
    std::vector<ByteRange> ranges;
    uint64_t run = 0;  // length of the run that ends with the entry before batch[i]
    for (size_t i = 0; i < batch.size(); ++i) {
      const bool goes_on = run > 0 && batch[i].old_chunk + 1 == batch[i - 1].old_chunk &&
                           batch[i].new_chunk + 1 == batch[i - 1].new_chunk &&
                           (end - i) % per_area != 0;
      if (goes_on) {
        ++run;
        ranges.back().offset -= chunk_bytes;
        ranges.back().length += chunk_bytes;
      } else {
        run = 1;
        ranges.push_back({batch[i].old_chunk * chunk_bytes, chunk_bytes});
      }
    }
    SNAP_TRY(copy_out(ranges));
    end -= batch.size();
  }
  return {};
}

Result<void> Origin::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(offset <= image_.size() && data.size() <= image_.size() - offset);
  while (!data.empty()) {
    const auto piece = data.first(std::min<uint64_t>(data.size(), in_flight_));
    const ByteRange range{offset, piece.size()};
    SNAP_TRY(copy_out({&range, 1}));
    SNAP_TRY(image_.write_at(offset, piece));
    offset += piece.size();
    data = data.subspan(piece.size());
  }
  return {};
}

}  // namespace snaptool
