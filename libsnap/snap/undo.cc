// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/undo.h"

#include "libsnap/snap/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/parallel.h"
#include "libsnap/copy/buffer_pool.h"

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
      return changed(
          fmt::format("'{}' was changed after the merge: entry {} of its list is another",
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

std::vector<ByteRange> targets_of(const UndoJournal::Tables& tables) {
  std::vector<ByteRange> targets;
  targets.reserve(tables.ranges.size());
  for (const CopyOp& range : tables.ranges) targets.push_back({range.target, range.length});
  return targets;
}

}  // namespace

Result<void> check_against_journal(File& origin, PersistentStore& store, UndoJournal& journal,
                                   const Job& job, std::atomic<bool>* differs) {
  const UndoJournal::Shape& shape = journal.shape();
  if (store.state() != StoreState::kValid ||
      shape.chunk_sectors != store.layout().chunk_sectors() || shape.origin_size != origin.size() ||
      shape.cow_size != store.cow().size()) {
    return changed(fmt::format("undo file '{}' is of another merge: '{}' and '{}' have other sizes",
                               journal.name(), origin.name(), store.cow().name()));
  }
  if (store.exceptions() > shape.exceptions || store.exceptions() < journal.first_entry()) {
    return changed(fmt::format(
        "'{}' has {} exceptions, but undo file '{}' is of a merge that left {} to {}: it is of "
        "another merge, or was not named when that merge went on",
        store.cow().name(), store.exceptions(), journal.name(), journal.first_entry(),
        shape.exceptions));
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
      return changed(fmt::format(
          "'{}' was changed after the merge: its first or last MiB is another", origin.name()));
    }
  }
  for (const UndoJournal::Batch& batch : journal.batches()) {
    SNAP_ASSIGN(const auto tables, journal.read_tables(batch));
    SNAP_TRY(check_entries(store, batch, tables));
    SNAP_TRY(check_bytes(origin, store.cow(), journal, batch, tables, job, differs));
  }
  return {};
}

Result<std::unique_ptr<Undo>> Undo::begin(File& origin, File& cow, File& journal_file,
                                          const Job& job) {
  // Runs before this one may have failed to flush what they wrote.
  SNAP_TRY(journal_file.flush());
  journal_file.drop_cache(0, journal_file.size());
  SNAP_TRY(trust_only_the_medium(cow, job.cancel));
  SNAP_ASSIGN(auto journal, UndoJournal::open(journal_file, job));
  SNAP_ASSIGN(auto store, PersistentStore::open(cow));
  if (store.state() != StoreState::kValid) {
    return changed(
        fmt::format("'{}' is no valid store: it was changed after the merge", cow.name()));
  }
  SNAP_TRY(store.read_metadata(job.cancel));
  std::atomic<bool> differs{store.exceptions() < journal.shape().exceptions};
  SNAP_TRY(check_against_journal(origin, store, journal, job, &differs));
  std::unique_ptr<Undo> undo(new Undo(origin, std::move(store), std::move(journal)));
  undo->differs_ = differs.load();
  undo->batches_left_ = undo->journal_.batches().size();
  for (const auto& batch : undo->journal_.batches()) undo->bytes_ += batch.data_bytes;
  job.progress.reset();
  job.progress.set_size(undo->bytes_);
  return undo;
}

Result<void> Undo::visit_ranges(
    const std::function<Result<void>(std::span<const ByteRange>)>& visit) {
  for (const auto& batch : journal_.batches()) {
    SNAP_ASSIGN(const auto tables, journal_.read_tables(batch));
    SNAP_TRY(visit(targets_of(tables)));
  }
  return {};
}

Result<void> Undo::run(const Job& job) {
  while (phase_ != Phase::kDone) SNAP_TRY(step(job));
  return {};
}

Result<void> Undo::step(const Job& job) {
  if (failure_) return *failure_;
  auto done = do_phase(job);
  if (!done) failure_ = done.error();
  return done;
}

Result<void> Undo::do_phase(const Job& job) {
  if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
  File& cow = store_.cow();
  switch (phase_) {
    case Phase::kMark:
      SNAP_TRY(origin_.flush());
      SNAP_TRY(cow.flush());
      SNAP_TRY(journal_.begin_undo());
      phase_ = batches_left_ == 0 ? Phase::kDone : Phase::kRestoreEntries;
      return {};
    case Phase::kRestoreEntries: {
      const auto& batch = journal_.batches()[batches_left_ - 1];
      SNAP_ASSIGN(tables_, journal_.read_tables(batch));
      SNAP_TRY(store_.restore_entries(batch.first_entry, tables_.entries));
      phase_ = Phase::kFlushCow;
      return {};
    }
    case Phase::kFlushCow:
      SNAP_TRY(cow.flush());
      phase_ = Phase::kRestoreOrigin;
      return {};
    case Phase::kRestoreOrigin: {
      if (siblings_ != nullptr) {
        if (auto kept = siblings_->copy_out(targets_of(tables_)); !kept) {
          return std::move(kept).error().with_context("keeping what siblings show");
        }
      }
      std::vector<CopyOp> ops;
      ops.reserve(tables_.ranges.size());
      uint64_t at = journal_.batches()[batches_left_ - 1].data_position();
      for (const CopyOp& range : tables_.ranges) {
        ops.push_back({at, range.target, range.length});
        at += range.length;
      }
      SNAP_TRY(Copier(journal_.file(), origin_).copy(ops, job));
      phase_ = Phase::kFlushOrigin;
      return {};
    }
    case Phase::kFlushOrigin:
      SNAP_TRY(origin_.flush());
      --batches_left_;
      phase_ = batches_left_ == 0 ? Phase::kDone : Phase::kRestoreEntries;
      return {};
    case Phase::kDone:
      return {};
  }
  return {};
}

}  // namespace snaptool
