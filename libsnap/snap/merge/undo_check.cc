// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/merge/undo_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/check.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/parallel.h"

namespace snaptool {
namespace {

Error changed(const std::string& what) { return Error(ErrorCode::kWrongBase, what); }

// Entries that the list still has must be the journaled ones; behind its end they may be cleared.
Result<void> check_entries(PersistentStore& store, const UndoJournal::Batch& batch,
                           const UndoJournal::Tables& tables) {
  std::vector<Exception> found(tables.entries.size());
  SNAP_TRY(store.read_entries(batch.first_entry, found));
  for (size_t i = 0; i < found.size(); ++i) {
    const bool cleared = found[i] == Exception{};
    const bool live = batch.first_entry + i < store.exceptions();
    if (found[i] != tables.entries[i] && (live || !cleared)) {
      return changed(fmt::format("'{}' was changed after the merge: entry {} of its list differs",
                                 store.cow().name(), batch.first_entry + i));
    }
  }
  return {};
}

// Bytes of a batch that lie side by side in origin, COW and journal.
struct Part {
  uint64_t source = 0;  // in the COW
  uint64_t target = 0;  // in the origin
  std::span<const std::byte> old_bytes;
};

// Each sector must be as before the merge or as the COW has it.
Result<void> check_part(File& origin, File& cow, const Part& part, std::span<std::byte> now,
                        std::span<std::byte> merged, std::atomic<bool>* differs) {
  const uint64_t length = part.old_bytes.size();
  now = now.first(length);
  SNAP_TRY(origin.read_at(part.target, now));
  const auto same = [&](uint64_t at, std::span<const std::byte> other) {
    const uint64_t sector = std::min(kSectorSize, length - at);
    return std::memcmp(&now[at], &other[at], sector) == 0;
  };
  // The COW is read only where the origin is not the old one: elsewhere it may be unreadable.
  uint64_t begin = 0;
  while (begin < length) {
    if (same(begin, part.old_bytes)) {
      begin += kSectorSize;
      continue;
    }
    if (differs != nullptr) *differs = true;
    uint64_t end = begin;
    while (end < length && !same(end, part.old_bytes)) end += std::min(kSectorSize, length - end);
    SNAP_TRY(cow.read_at(part.source + begin, merged.subspan(begin, end - begin)));
    for (uint64_t at = begin; at < end; at += kSectorSize) {
      if (same(at, merged)) continue;
      return changed(
          fmt::format("'{}' or the data of '{}' was changed after the merge: the sector at byte {} "
                      "of the origin has neither its old nor its merged content",
                      origin.name(), cow.name(), part.target + at));
    }
    begin = end;
  }
  return {};
}

Result<void> check_bytes(File& origin, File& cow, const UndoJournal& journal,
                         const UndoJournal::Batch& batch, const UndoJournal::Tables& tables,
                         const Job& job, std::atomic<bool>* differs) {
  std::vector<uint64_t> starts;  // of each range, in the batch's bytes
  starts.reserve(tables.ranges.size());
  uint64_t total = 0;
  for (const CopyOp& range : tables.ranges) {
    starts.push_back(total);
    total += range.length;
  }
  BufferPool buffers(std::min(kIoPiece, batch.data_bytes));
  return parallel_for(batch.piece_count(), job, [&](size_t piece) -> Result<void> {
    BufferPool::Lease old_lease(buffers);
    BufferPool::Lease now_lease(buffers);
    BufferPool::Lease merged_lease(buffers);
    SNAP_ASSIGN(const std::span<std::byte> old_bytes,
                journal.read_piece(batch, tables, piece, old_lease.bytes()));
    const uint64_t first = piece * kIoPiece;
    auto range = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), first) -
                                     starts.begin() - 1);
    for (uint64_t at = 0; at < old_bytes.size(); ++range) {
      const uint64_t skip = first + at - starts[range];
      const uint64_t length =
          std::min<uint64_t>(tables.ranges[range].length - skip, old_bytes.size() - at);
      const Part part{tables.ranges[range].source + skip, tables.ranges[range].target + skip,
                      old_bytes.subspan(at, length)};
      SNAP_TRY(check_part(origin, cow, part, now_lease.bytes(), merged_lease.bytes(), differs));
      at += length;
    }
    return {};
  });
}

}  // namespace

Result<void> check_against_journal(File& origin, PersistentStore& store, UndoJournal& journal,
                                   const Job& job, std::atomic<bool>* differs) {
  const UndoJournal::Shape& shape = journal.shape();
  if (store.state() != StoreState::kValid ||
      shape.chunk_sectors != store.layout().chunk_sectors() || shape.origin_size != origin.size() ||
      shape.cow_size != store.cow().size()) {
    return changed(
        fmt::format("undo file '{}' belongs to another merge: '{}' and '{}' have other sizes",
                    journal.name(), origin.name(), store.cow().name()));
  }
  if (store.exceptions() > shape.exceptions || store.exceptions() < journal.first_entry()) {
    return changed(fmt::format(
        "'{}' has {}, but undo file '{}' belongs to a merge that left {} to {}: it is of "
        "another merge, or was not named when that merge went on",
        store.cow().name(), counted(store.exceptions(), "exception"), journal.name(),
        journal.first_entry(), shape.exceptions));
  }
  if (journal.state() == UndoJournal::State::kFinished) {
    if (store.exceptions() > 0) {
      return changed(
          fmt::format("'{}' has exceptions: it was written to after the merge of undo "
                      "file '{}'",
                      store.cow().name(), journal.name()));
    }
    SNAP_ASSIGN(const auto ends, UndoJournal::ends_of(origin));
    if (ends != journal.ends()) {
      return changed(fmt::format("'{}' was changed after the merge: its first or last MiB differs",
                                 origin.name()));
    }
  }
  for (const UndoJournal::Batch& batch : journal.batches()) {
    SNAP_ASSIGN(const auto tables, journal.read_tables(batch));
    SNAP_TRY(check_entries(store, batch, tables));
    SNAP_TRY(check_bytes(origin, store.cow(), journal, batch, tables, job, differs));
  }
  return {};
}

}  // namespace snaptool
