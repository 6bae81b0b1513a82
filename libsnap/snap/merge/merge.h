// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libsnap/base/throttle.h"
#include "libsnap/copy/copier.h"
#include "libsnap/io/image.h"
#include "libsnap/snap/merge/undo_journal.h"
#include "libsnap/snap/merge/upper_stores.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool {

struct MergeOptions {
  // Read each batch back from the medium before its entries are cleared.
  bool verify = false;
  // Merge a store with several entries for one chunk, as the kernel does.
  bool accept_duplicates = false;
  // Clear entries behind the end of the list even where the origin does not have their data.
  bool discard_tail = false;
  // Go on past data chunks that cannot be read; their entries stay, and all entries before them.
  bool salvage = false;
  // Where zeros are merged into an origin that has holes, give their space back.
  bool punch = true;
  // When all is merged, write zeros over what is left in the COW of its data. Not with keep_undo,
  // which needs them.
  bool scrub = false;
  // Begin although the origin's file system has less space left than its holes will take.
  bool ignore_space = false;
  // Copied between two flushes, at most; a merge begins with less.
  uint64_t batch_bytes = 256 * kMiB;
  // On a slow medium a batch takes less than batch_bytes, so that it is about so long from one
  // flush to the next. A crash costs two batches.
  std::chrono::seconds batch_time{5};
  // Entries in a batch, at most: they are what a merge keeps in memory.
  uint64_t batch_exceptions = 128 * kKiB;
  // Stores over this one: what they have is not merged, since they will be merged after it, and
  // into the same origin. Not with keep_undo, nor with salvage.
  UpperStores upper;
  RateLimit rate;
  Clock now = steady_now;
};

// What is said when a merge does not fit: bytes of holes that it fills, and bytes that are left.
Error no_space_for_holes(const File& origin, uint64_t holes, uint64_t left);

// Makes the origin equal to the snapshot's view, in place; libsnap/snap/merge/MERGE.md has the
// order and what each crash leaves. At every instant view(origin, cow) is what it was before, and
// the kernel's snapshot-merge target, or another Merge, can finish the work.
//
// Memory: the entries of two batches and a buffer a thread; nothing grows with the store (but for
// the list of unreadable chunks, which is cut at kUnreadableKept).
class Merge {
 public:
  // An exception whose data could not be read.
  struct Unreadable {
    Exception entry;
    std::string cause;
  };
  static constexpr size_t kUnreadableKept = 10000;

  // Checks the whole store and refuses one that is not sound. Writes nothing.
  // Requires: both files outlive this, are open for writing and locked, and are different files.
  // Entries behind the end of the list, which the merge will clear, must be what a crash of a merge
  // left: their data are on the origin. (A store whose first entries were wiped looks the same, but
  // for that.) Errors: kCorruption, kInvalidated; those of verify_store. A store with magic 0 is
  // "nothing to merge".
  static Result<std::unique_ptr<Merge>> begin(File& origin, File& cow, const MergeOptions& options,
                                              const Job& job);

  // Keeps in `journal` what undoes the merge (undo.h). A blank file becomes a journal at the first
  // step; one that an earlier run of this merge began is continued. Writes nothing yet.
  // Requires: nothing was stepped yet; `journal` outlives this, is open for writing, and is neither
  // of the two files.
  // Errors: kUnsupported for a store with duplicates; kWrongBase when the journal is not this
  // merge's, or not at this state of it; kNoSpace; those of UndoJournal::open and
  // check_against_journal.
  Result<void> keep_undo(File& journal, const Job& job);

  // One phase of the merge; each call of step() does the one that phase() names, then moves on.
  enum class Phase {
    kSettle,      // zero what is behind the terminator; flush both files
    kPlan,        // take the next batch from the end of the list
    kJournal,     // with keep_undo: what it will change is durable in the journal
    kProbe,       // with options.salvage: which of its data can be read
    kCopy,        // its data: COW to origin, while the batch before is flushed
    kEndFlush,    // the data of the batch before are durable, and what was cleared before these
    kCompare,     // with options.verify: its data read back as what they are, and only then
    kClear,       // its entries are cleared
    kBeginFlush,  // of the batch that was copied, and of what was cleared
    kScrub,       // with options.scrub, when all is merged and durable: zeros over the COW's data
    kDone,
  };
  Phase phase() const { return phase_; }

  // Does one phase. Progress counts copied bytes (job.progress; its size is set by begin).
  // Errors: those of File, with what was being done as context; kInterrupted. After an error no
  // later call does anything but return it again: nothing is cleared whose data may not have
  // arrived. Crash, error, interruption: as if the merge had been stopped between two phases; begin
  // again resumes.
  Result<void> step(const Job& job);

  // Calls step until it is done.
  Result<void> run(const Job& job);

  const VerifyReport& report() const { return report_; }
  // Entries that were cleared so far; the last of them are durable when all is done.
  uint64_t merged_exceptions() const { return merged_; }
  // Bytes that are yet to be copied, as planned at the start.
  uint64_t bytes_to_copy() const { return bytes_to_copy_; }
  // Bytes of the origin's holes that data of the COW go into. Errors: those of read_metadata and
  // File::extent_at.
  Result<uint64_t> holes_to_fill(const Cancel& cancel);
  // With options.salvage, after the merge: what could not be read (the first kUnreadableKept of
  // these), how many there are, and how many entries the list still has because of them.
  const std::vector<Unreadable>& unreadable() const { return unreadable_; }
  uint64_t unreadable_count() const { return unreadable_count_; }
  uint64_t kept_exceptions() const { return store_ ? store_->exceptions() : 0; }

 private:
  // Entries that are merged together.
  struct Batch {
    std::vector<Exception> entries;  // the list's last first
    std::vector<CopyOp> ops;
    uint64_t end = 0;  // of the list when it was planned
    uint64_t clear_count =
        0;  // of the entries, how many are cleared: all, unless one was unreadable
  };

  Merge(File& origin, File& cow, const MergeOptions& options);
  Result<void> do_phase(const Job& job);
  Result<void> begin_batch();
  Result<void> end_flush();
  Result<void> clear();
  Result<void> scrub(const Job& job);
  void begin_flush();
  Result<void> journal_batch(const Job& job);
  Result<bool> is_merged_or_hidden(Image& origin, const Exception& entry, const Cancel& cancel);
  Result<void> check_tail_is_merged(const Job& job);
  Result<void> check_space(const Job& job);
  Result<void> check_space_for_undo(const File& journal, uint64_t needed, const Job& job);
  CopyOp whole_op(const Exception& entry) const;
  void append_ops(const Exception& entry, std::vector<CopyOp>& ops) const;
  Result<uint64_t> count_bytes(const Cancel& cancel);
  Result<void> settle();
  Result<void> plan();
  void plan_copies();
  void read_ahead(std::span<const Exception> entries);
  Result<void> copy(const Job& job);
  void adapt_batch();
  Result<void> probe(const Job& job);

  File& origin_;
  File& cow_;
  MergeOptions options_;
  std::optional<PersistentStore> store_;  // absent: magic 0
  std::optional<Copier> copier_;          // present with store_
  VerifyReport report_;
  uint64_t origin_view_size_ = 0;  // bytes; the origin without a part sector at its end
  uint64_t bytes_to_copy_ = 0;
  uint64_t merged_ = 0;
  Phase phase_ = Phase::kSettle;
  std::optional<Error> failure_;

  Batch batch_;   // from kPlan to kBeginFlush
  Batch copied_;  // from there to the next kClear
  // Under way from kBeginFlush to kEndFlush.
  std::future<Result<void>> origin_flush_;  // with copied_
  std::future<Result<void>> cow_flush_;     // when something was cleared

  bool cleared_ = false;     // and no flush has begun yet
  bool one_by_one_ = false;  // each batch is flushed and cleared before the next is copied

  uint64_t planned_end_ = 0;               // entries before this one are yet to be planned
  uint64_t ahead_ = 0;                     // entries before this one are yet to be read ahead
  uint64_t batch_limit_ = 0;               // bytes
  std::chrono::nanoseconds last_flush_{};  // when kEndFlush was last done
  uint64_t copied_since_ = 0;              // bytes
  Throttle throttle_;
  std::vector<Unreadable> unreadable_;
  uint64_t unreadable_count_ = 0;

  std::optional<UndoJournal> journal_;
  File* blank_journal_ = nullptr;
};

}  // namespace snaptool
