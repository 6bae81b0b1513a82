// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/merge/undo.h"

#include <fmt/format.h>

#include "libsnap/base/check.h"
#include "libsnap/snap/merge/undo_check.h"

namespace snaptool {
namespace {

std::vector<ByteRange> targets_of(const UndoJournal::Tables& tables) {
  std::vector<ByteRange> targets;
  targets.reserve(tables.ranges.size());
  for (const CopyOp& range : tables.ranges) targets.push_back({range.target, range.length});
  return targets;
}

}  // namespace

Result<std::unique_ptr<Undo>> Undo::begin(File& origin, File& cow, File& journal_file,
                                          const Job& job) {
  SNAP_ASSIGN(auto journal, UndoJournal::open(journal_file, job));
  SNAP_ASSIGN(auto store, PersistentStore::open(cow));
  if (store.state() != StoreState::kValid) {
    return Error(
        ErrorCode::kWrongBase,
        fmt::format("'{}' is not a valid store: it was changed after the merge", cow.name()));
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
      SNAP_TRY(Copier(journal_.file(), origin_, 0, zero_mode_of(origin_)).copy(ops, job));
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
