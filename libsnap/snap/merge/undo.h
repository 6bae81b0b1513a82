// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "libsnap/snap/merge/undo_journal.h"
#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/view/origin.h"

namespace snaptool {

// Brings an origin and its COW back to what they were before a merge with an undo file, in the
// ranges that the merge changed. (What lay behind the end of the list is not brought back.)
//
// Batch by batch, the last one first: its entries -> cow.flush -> the origin's old bytes ->
// origin.flush. So at every instant view(origin, cow) is what it was, and the undoing, or another
// merge, can go on. Memory: the tables of one batch and a buffer a thread.
class Undo {
 public:
  // Checks everything, writes nothing. Requires: the files outlive this, are open for writing, and
  // are different files. Errors: those of check_against_journal; kCorruption when `cow` is not a
  // sound store.
  static Result<std::unique_ptr<Undo>> begin(File& origin, File& cow, File& journal,
                                             const Job& job);

  // The snapshots of `origin`, which is what the undoing writes to, get what they need of it before
  // it changes. Requires: it outlives this; nothing was stepped yet.
  void keep_for(Origin& origin) { siblings_ = &origin; }
  // Calls `visit` with the ranges of the origin that each batch will write, ascending in a batch.
  // Errors: those of UndoJournal::read_tables and of `visit`.
  Result<void> visit_ranges(const std::function<Result<void>(std::span<const ByteRange>)>& visit);

  enum class Phase {
    kMark,  // the journal says that the undoing has begun; both files are flushed
    kRestoreEntries,
    kFlushCow,
    kRestoreOrigin,
    kFlushOrigin,
    kDone,
  };
  Phase phase() const { return phase_; }
  // Does one phase. Errors: those of File; kInterrupted. After an error every later call returns it
  // again. Crash, error, interruption: begin again resumes.
  Result<void> step(const Job& job);
  // Calls step until it is done.
  Result<void> run(const Job& job);

  // Whether both are as they were before the merge already.
  bool nothing_to_do() const { return !differs_; }
  // Bytes of the origin that are written back.
  uint64_t bytes() const { return bytes_; }
  // Entries that are put back, those that are there already included.
  uint64_t exceptions() const { return journal_.shape().exceptions - journal_.first_entry(); }

 private:
  Undo(File& origin, PersistentStore store, UndoJournal journal)
      : origin_(origin), store_(std::move(store)), journal_(std::move(journal)) {}
  Result<void> do_phase(const Job& job);

  File& origin_;
  PersistentStore store_;
  UndoJournal journal_;
  Phase phase_ = Phase::kMark;
  size_t batches_left_ = 0;
  uint64_t bytes_ = 0;
  UndoJournal::Tables tables_;  // of the batch that is being undone
  Origin* siblings_ = nullptr;
  std::atomic<bool> differs_{false};
  std::optional<Error> failure_;
};

}  // namespace snaptool
