// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/merge/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/io/storage.h"
#include "libsnap/snap/merge/undo_check.h"
#include "libsnap/snap/store/tail.h"

namespace snaptool {
namespace {

// Copied before the first flush, at most: how fast the medium is, nobody knows yet.
constexpr uint64_t kFirstBatch = 64 * kMiB;

}  // namespace

Error no_space_for_holes(const File& origin, uint64_t holes, uint64_t left) {
  return Error(
      ErrorCode::kNoSpace,
      fmt::format(
          "'{}' has holes, and the merge fills {} of them, but its file system has {} left: "
          "nothing was written",
          origin.name(), format_size(holes), format_size(left)));
}

Merge::Merge(File& origin, File& cow, const MergeOptions& options)
    : origin_(origin),
      cow_(cow),
      options_(options),
      batch_limit_(std::min(options.batch_bytes, kFirstBatch)),
      throttle_(options.rate, options.now) {
  const auto seconds = static_cast<uint64_t>(options.batch_time.count());
  const auto in_time = checked_mul(options.rate.bytes_per_second, seconds);
  if (in_time && *in_time > 0) batch_limit_ = std::min(batch_limit_, std::max(*in_time, kIoPiece));
}

Result<std::unique_ptr<Merge>> Merge::begin(File& origin, File& cow, const MergeOptions& options,
                                            const Job& job) {
  SNAP_CHECK(&origin != &cow && options.batch_bytes > 0 && options.batch_exceptions > 0);
  SNAP_CHECK(options.upper.empty() || !options.salvage);
  std::unique_ptr<Merge> merge(new Merge(origin, cow, options));
  SNAP_ASSIGN(merge->report_, verify_store(cow, origin.size(), job.cancel));
  if (const auto refusal = refusal_of(merge->report_, cow, "is not merged, nothing was written",
                                      options.accept_duplicates)) {
    return *refusal;
  }
  if (merge->report_.count(DefectCode::kNoStore) > 0) {
    merge->phase_ = Phase::kDone;
    return merge;
  }
  merge->origin_view_size_ = round_down(origin.size(), kSectorSize);
  SNAP_ASSIGN(merge->store_, PersistentStore::open(cow));
  SNAP_TRY(merge->store_->read_metadata(job.cancel));
  const uint64_t chunk_bytes = merge->store_->layout().chunk_bytes();
  merge->copier_.emplace(cow, origin, chunk_bytes,
                         options.punch ? zero_mode_of(origin) : ZeroMode::kKeep);
  if (merge->report_.count(DefectCode::kLiveBehindTerminator) > 0 && !options.discard_tail) {
    SNAP_TRY(merge->check_tail_is_merged(job));
  }
  merge->planned_end_ = merge->ahead_ = merge->store_->exceptions();
  SNAP_ASSIGN(merge->bytes_to_copy_, merge->count_bytes(job.cancel));
  if (!options.ignore_space) SNAP_TRY(merge->check_space(job));
  job.progress.set_size(merge->bytes_to_copy_);
  return merge;
}

Result<void> Merge::keep_undo(File& journal, const Job& job) {
  SNAP_CHECK(&journal != &origin_ && &journal != &cow_ && (phase_ == Phase::kSettle || !store_));
  SNAP_CHECK(!options_.scrub && options_.upper.empty());
  if (!store_) return {};
  if (report_.count(DefectCode::kDuplicateOld) > 0) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("an undo file for '{}', which has several exceptions for one chunk",
                             cow_.name()));
  }
  SNAP_ASSIGN(const bool blank, UndoJournal::is_blank(journal));
  uint64_t needed = bytes_to_copy_;
  if (blank) {
    blank_journal_ = &journal;
  } else {
    SNAP_ASSIGN(journal_, UndoJournal::open(journal, job));
    if (journal_->state() == UndoJournal::State::kFinished) {
      // Stopped when all was done: there is nothing to resume.
      SNAP_ASSIGN(const auto ends, UndoJournal::ends_of(origin_));
      if (planned_end_ == 0 && ends == journal_->ends()) {
        journal_.reset();
        return {};
      }
      return Error(ErrorCode::kWrongBase,
                   fmt::format("undo file '{}' belongs to a finished merge; name another file",
                               journal.name()));
    }
    if (journal_->state() == UndoJournal::State::kUndoing) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("undo file '{}' belongs to a merge that was taken back, or is being "
                               "taken back: name another file",
                               journal.name()));
    }
    SNAP_TRY(check_against_journal(origin_, *store_, *journal_, job));
    needed = journal_->first_entry() * store_->layout().chunk_bytes();
  }
  return check_space_for_undo(journal, needed, job);
}

// For the undo file, and the origin's holes, where both are on one file system.
Result<void> Merge::check_space_for_undo(const File& journal, uint64_t needed, const Job& job) {
  const auto left = journal.space_left();
  if (!left || options_.ignore_space) return {};
  uint64_t holes = 0;
  if (*left < needed + bytes_to_copy_ && on_one_file_system(journal, origin_)) {
    SNAP_ASSIGN(holes, holes_to_fill(job.cancel));
  }
  if (*left >= needed + holes) return {};
  const std::string more = holes == 0 ? ""
                                      : fmt::format(", and the merge fills {} of holes of '{}'",
                                                    format_size(holes), origin_.name());
  return Error(ErrorCode::kNoSpace,
               fmt::format("undo file '{}' will take {}{}, but the file system has {} left: "
                           "nothing was written",
                           journal.name(), format_size(needed), more, format_size(*left)));
}

Result<void> Merge::run(const Job& job) {
  while (phase_ != Phase::kDone) SNAP_TRY(step(job));
  return {};
}

Result<void> Merge::step(const Job& job) {
  if (failure_) return *failure_;
  auto done = do_phase(job);
  if (!done) failure_ = done.error();
  return done;
}

static Result<void> in_context(Result<void> result, std::string_view what) {
  if (!result) return std::move(result).error().with_context(std::string(what));
  return {};
}

// The next batch; what is still to be flushed and cleared; or the end of the merge.
Result<void> Merge::begin_batch() {
  SNAP_TRY(in_context(plan(), "planning a batch"));
  if (!batch_.entries.empty()) {
    phase_ = journal_ ? Phase::kJournal : options_.salvage ? Phase::kProbe : Phase::kCopy;
    return {};
  }
  if (origin_flush_.valid() || cow_flush_.valid()) {
    phase_ = Phase::kEndFlush;
    return {};
  }
  if (journal_ && kept_exceptions() == 0) {
    SNAP_ASSIGN(const auto ends, UndoJournal::ends_of(origin_));
    SNAP_TRY(in_context(journal_->finish(ends), "ending the undo file"));
  }
  phase_ = options_.scrub && kept_exceptions() == 0 ? Phase::kScrub : Phase::kDone;
  return {};
}

// All but the header and the first area, which is empty: nothing names it any more, nor will after
// a crash.
Result<void> Merge::scrub(const Job& job) {
  const IoBytes zeros(kIoPiece);
  for (uint64_t at = 2 * store_->layout().chunk_bytes(); at < cow_.size();) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Extent extent, cow_.extent_at(at, cow_.size() - at));
    const uint64_t length = extent.zero ? extent.length : std::min(extent.length, kIoPiece);
    if (!extent.zero) SNAP_TRY(cow_.write_at(at, std::span(zeros).first(length)));
    at += length;
  }
  return cow_.flush();
}

// What an earlier run journaled may be overwritten already.
Result<void> Merge::journal_batch(const Job& job) {
  if (journal_->first_entry() != batch_.end) return {};
  const std::vector<Exception> entries(batch_.entries.rbegin(), batch_.entries.rend());
  return in_context(journal_->append(entries, batch_.ops, origin_, job),
                    "keeping what the next batch changes");
}

Result<void> Merge::end_flush() {
  if (origin_flush_.valid()) {
    SNAP_TRY(in_context(origin_flush_.get(), "making the copied chunks durable"));
  }
  if (cow_flush_.valid()) {
    SNAP_TRY(in_context(cow_flush_.get(), "making the cleared entries durable"));
  }
  adapt_batch();
  phase_ = copied_.entries.empty() ? Phase::kPlan
           : options_.verify       ? Phase::kCompare
                                   : Phase::kClear;
  return {};
}

Result<void> Merge::clear() {
  SNAP_TRY(in_context(store_->commit_merge(copied_.clear_count), "clearing merged entries"));
  merged_ += copied_.clear_count;
  copied_ = {};
  cleared_ = true;
  return {};
}

void Merge::begin_flush() {
  if (std::exchange(cleared_, false)) cow_flush_ = cow_.begin_flush();
  copied_ = std::exchange(batch_, {});
  if (!copied_.entries.empty()) origin_flush_ = origin_.begin_flush();
}

Result<void> Merge::do_phase(const Job& job) {
  // A clear once begun is brought to its flush: stopping between them would only cost the next run
  // its work.
  if (job.cancel.requested() && !cleared_) return Error(ErrorCode::kInterrupted, "interrupted");
  switch (phase_) {
    case Phase::kSettle:
      SNAP_TRY(in_context(settle(), "before the first batch"));
      last_flush_ = options_.now();
      phase_ = Phase::kPlan;
      return {};
    case Phase::kPlan:
      return begin_batch();
    case Phase::kJournal:
      SNAP_TRY(journal_batch(job));
      phase_ = options_.salvage ? Phase::kProbe : Phase::kCopy;
      return {};
    case Phase::kProbe:
      SNAP_TRY(in_context(probe(job), "trying what can be read"));
      phase_ = Phase::kCopy;
      return {};
    case Phase::kCopy:
      SNAP_TRY(in_context(copy(job), "copying to the origin"));
      phase_ = copied_.entries.empty() ? Phase::kBeginFlush : Phase::kEndFlush;
      return {};
    case Phase::kEndFlush:
      return end_flush();
    case Phase::kCompare:
      SNAP_TRY(in_context(copier_->compare(copied_.ops, job), "verifying the copied chunks"));
      phase_ = Phase::kClear;
      return {};
    case Phase::kClear:
      SNAP_TRY(clear());
      phase_ = Phase::kBeginFlush;
      return {};
    case Phase::kBeginFlush:
      begin_flush();
      phase_ = one_by_one_ ? Phase::kEndFlush : Phase::kPlan;
      return {};
    case Phase::kScrub:
      SNAP_TRY(in_context(scrub(job), "writing zeros over what was merged"));
      phase_ = Phase::kDone;
      return {};
    case Phase::kDone:
      return {};
  }
  return {};
}

// What stores above hide, a merge that was stopped has not copied.
Result<bool> Merge::is_merged_or_hidden(Image& origin, const Exception& entry,
                                        const Cancel& cancel) {
  if (options_.upper.empty() || !lies_within(*store_, entry, origin_view_size_)) return false;
  std::vector<CopyOp> ops;
  append_ops(entry, ops);
  for (const CopyOp& op : ops) {
    SNAP_ASSIGN(const bool there,
                has_data_of(origin, op.target, *store_, op.source, op.length, cancel));
    if (!there) return false;
  }
  return true;
}

Result<void> Merge::check_tail_is_merged(const Job& job) {
  RawImage origin(origin_, origin_view_size_);
  const auto keeper = [&](Image& image, PersistentStore&, const Exception& entry) {
    return is_merged_or_hidden(image, entry, job.cancel);
  };
  auto checked = check_tail(*store_, origin, job.cancel, keeper);
  if (!checked && checked.error().code() == ErrorCode::kIo) {
    return std::move(checked)
        .error()
        .with_note("while checking whether entries past the end of the list are merged")
        .with_remedy(Remedy::kDropTail);
  }
  SNAP_ASSIGN(const TailCheck tail, std::move(checked));
  if (!tail.missing) return {};
  return Error(ErrorCode::kCorruption,
               fmt::format(
                   "'{}' is not merged, nothing was written: {} lie{} past the end of its "
                   "list, and the origin does not have the data of origin chunk {:#x} (data "
                   "chunk {:#x}): no interrupted merge left them; did a power cut tear a write to "
                   "the snapshot, or was the list's beginning wiped? look for a sound copy",
                   cow_.name(), counted(tail.entries, "entry"), tail.entries == 1 ? "s" : "",
                   tail.missing->old_chunk, tail.missing->new_chunk))
      .with_remedy(Remedy::kDropTail);
}

Result<void> Merge::settle() {
  // A torn clear of an earlier run may have left entries behind the terminator; once this run moves
  // the terminator, they would still be there for a later writer to revive.
  SNAP_TRY(store_->zero_tail());
  SNAP_TRY(cow_.flush());
  SNAP_TRY(origin_.flush());
  if (blank_journal_ != nullptr && planned_end_ > 0) {
    SNAP_ASSIGN(journal_,
                UndoJournal::create(*blank_journal_, {store_->layout().chunk_sectors(),
                                                      origin_.size(), cow_.size(), planned_end_}));
  }
  return {};
}

// How the data of an exception get to the origin, were there no other store.
CopyOp Merge::whole_op(const Exception& entry) const {
  const uint64_t chunk_bytes = store_->layout().chunk_bytes();
  const uint64_t target = entry.old_chunk * chunk_bytes;
  SNAP_CHECK(target < origin_view_size_);  // verify_store saw to it
  return {entry.new_chunk * chunk_bytes, target, std::min(chunk_bytes, origin_view_size_ - target)};
}

// What of it no store above has.
void Merge::append_ops(const Exception& entry, std::vector<CopyOp>& ops) const {
  const auto append = [&](const CopyOp& op) {
    if (!ops.empty() && ops.back().target + ops.back().length == op.target &&
        ops.back().source + ops.back().length == op.source) {
      ops.back().length += op.length;
    } else {
      ops.push_back(op);
    }
  };
  const CopyOp whole = whole_op(entry);
  if (options_.upper.empty()) return append(whole);
  for (uint64_t at = 0; at < whole.length;) {
    const ByteRange shown = options_.upper.first_shown({whole.target + at, whole.length - at});
    if (shown.length == 0) return;
    at = shown.offset - whole.target;
    append({whole.source + at, whole.target + at, shown.length});
    at += shown.length;
  }
}

Result<uint64_t> Merge::count_bytes(const Cancel& cancel) {
  if (options_.upper.empty()) return store_->exceptions() * store_->layout().chunk_bytes();
  uint64_t bytes = 0;
  std::vector<CopyOp> ops;
  SNAP_TRY(store_->read_metadata(
      [&](uint64_t, uint64_t, std::span<const Exception> entries) -> Result<void> {
        ops.clear();
        for (const Exception& entry : entries) append_ops(entry, ops);
        for (const CopyOp& op : ops) bytes += op.length;
        return {};
      },
      cancel));
  return bytes;
}

// Bytes of the origin's holes that data of the COW go into.
static Result<uint64_t> space_for(const CopyOp& op, ExtentMap& origin, ExtentMap& cow) {
  uint64_t needed = 0;
  for (uint64_t at = 0; at < op.length;) {
    SNAP_ASSIGN(const auto below, origin.run_at(op.target + at, op.length - at));
    uint64_t step = below.length;
    if (below.hole) {
      SNAP_ASSIGN(const auto data, cow.run_at(op.source + at, step));
      step = data.length;
      if (!data.hole) needed += step;
    }
    at += step;
  }
  return needed;
}

Result<uint64_t> Merge::holes_to_fill(const Cancel& cancel) {
  if (!store_) return 0;
  ExtentMap origin_map(origin_);
  ExtentMap cow_map(cow_);
  uint64_t holes = 0;
  std::vector<CopyOp> ops;
  SNAP_TRY(store_->read_metadata(
      [&](uint64_t, uint64_t, std::span<const Exception> entries) -> Result<void> {
        ops.clear();
        for (const Exception& entry : entries) append_ops(entry, ops);
        for (const CopyOp& op : ops) {
          SNAP_ASSIGN(const uint64_t needed, space_for(op, origin_map, cow_map));
          holes += needed;
        }
        return {};
      },
      cancel));
  return holes;
}

Result<void> Merge::check_space(const Job& job) {
  const auto left = origin_.space_left();
  if (!left || *left >= bytes_to_copy_) return {};
  SNAP_ASSIGN(const uint64_t holes, holes_to_fill(job.cancel));
  if (*left >= holes) return {};
  return no_space_for_holes(origin_, holes, *left);
}

Result<void> Merge::plan() {
  const uint64_t chunk_bytes = store_->layout().chunk_bytes();
  uint64_t limit = std::clamp<uint64_t>(batch_limit_ / chunk_bytes, 1, options_.batch_exceptions);
  if (journal_ && planned_end_ > journal_->first_entry()) {
    limit = std::min(limit, planned_end_ - journal_->first_entry());
  }
  batch_.end = planned_end_;
  SNAP_ASSIGN(batch_.entries, store_->prepare_merge(planned_end_, limit));
  if (report_.count(DefectCode::kDuplicateOld) > 0) {
    // Of two entries for one chunk the later one must be gone, durably, before the first, which
    // counts, is copied: a torn clear of both could leave the later one, whose data nobody has.
    one_by_one_ = true;
    std::unordered_set<uint64_t> seen;
    auto& entries = batch_.entries;
    const auto second = std::find_if(entries.begin(), entries.end(), [&](const Exception& entry) {
      return !seen.insert(entry.old_chunk).second;
    });
    entries.erase(second, entries.end());
  }
  planned_end_ -= batch_.entries.size();
  batch_.clear_count = unreadable_count_ == 0 ? batch_.entries.size() : 0;
  if (planned_end_ < ahead_) read_ahead(batch_.entries);
  plan_copies();
  SNAP_ASSIGN(const auto next, store_->prepare_merge(planned_end_, limit));
  read_ahead(next);
  ahead_ = planned_end_ - next.size();
  return {};
}

// In the order that the COW's data lie in (they are written in the origin's order).
void Merge::read_ahead(std::span<const Exception> entries) {
  const uint64_t chunk_bytes = store_->layout().chunk_bytes();
  uint64_t start = 0;
  uint64_t end = 0;
  const auto read_run = [&] {
    if (end > start) copier_->will_need(start * chunk_bytes, (end - start) * chunk_bytes);
  };
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    // Up to two chunks in between (an area, say) are cheaper read than skipped.
    if (entry->new_chunk < start || entry->new_chunk > end + 2) {
      read_run();
      start = entry->new_chunk;
    }
    end = entry->new_chunk + 1;
  }
  read_run();
}

void Merge::plan_copies() {
  auto& ops = batch_.ops;
  // By origin chunk; of several entries for one chunk the first in the list counts. The batch comes
  // with the list's last entry first, so after a stable sort that is the last of its equals.
  std::vector<Exception> sorted = batch_.entries;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Exception& a, const Exception& b) {
    return a.old_chunk < b.old_chunk;
  });
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (i + 1 < sorted.size() && sorted[i + 1].old_chunk == sorted[i].old_chunk) continue;
    append_ops(sorted[i], ops);
  }
}

Result<void> Merge::copy(const Job& job) {
  throttle_.resume();
  copied_since_ += batch_.entries.size() * store_->layout().chunk_bytes();
  if (options_.rate.none()) return copier_->copy(batch_.ops, job);
  return copier_->copy(batch_.ops, job, [&](size_t, std::span<const std::byte> bytes) {
    // Being told to stop is seen before the next piece.
    (void)throttle_.pause(bytes.size(), job.cancel);
  });
}

void Merge::adapt_batch() {
  const auto now = options_.now();
  const std::chrono::nanoseconds took = now - std::exchange(last_flush_, now);
  const auto bytes = static_cast<double>(std::exchange(copied_since_, 0));
  if (bytes == 0) return;
  // So many would have taken the time allowed.
  const double fitting =
      bytes * static_cast<double>(std::chrono::nanoseconds(options_.batch_time).count()) /
      static_cast<double>(std::max<int64_t>(took.count(), 1));
  const uint64_t least = std::min(kIoPiece, options_.batch_bytes);
  const uint64_t most = std::min(options_.batch_bytes, 2 * batch_limit_);
  batch_limit_ =
      fitting >= static_cast<double>(most) ? most : std::max(least, static_cast<uint64_t>(fitting));
}

Result<void> Merge::probe(const Job& job) {
  const uint64_t chunk_bytes = store_->layout().chunk_bytes();
  RawBytes buffer(kIoPiece);
  const auto read_all = [&](uint64_t offset, uint64_t length) -> Result<void> {
    for (uint64_t done = 0; done < length; done += kIoPiece) {
      if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_TRY(
          cow_.read_at(offset + done, std::span(buffer).first(std::min(length - done, kIoPiece))));
    }
    return {};
  };
  std::vector<CopyOp> readable;
  std::vector<Exception> bad;
  for (const CopyOp& op : batch_.ops) {
    auto whole = read_all(op.source, op.length);
    if (whole) {
      readable.push_back(op);
      continue;
    }
    if (whole.error().code() != ErrorCode::kIo) return whole;
    for (uint64_t done = 0; done < op.length; done += chunk_bytes) {
      const CopyOp chunk{op.source + done, op.target + done,
                         std::min(chunk_bytes, op.length - done)};
      auto read = read_all(chunk.source, chunk.length);
      if (read) {
        readable.push_back(chunk);
        continue;
      }
      if (read.error().code() != ErrorCode::kIo) return read;
      bad.push_back({chunk.target / chunk_bytes, chunk.source / chunk_bytes});
      ++unreadable_count_;
      if (unreadable_.size() < kUnreadableKept) {
        unreadable_.push_back({bad.back(), read.error().describe()});
      }
    }
  }
  if (bad.empty()) return {};
  batch_.ops = std::move(readable);
  // The list ends at its first cleared entry: only what lies behind the last bad one is cleared.
  const auto by_chunks = [](const Exception& a, const Exception& b) {
    return std::pair(a.old_chunk, a.new_chunk) < std::pair(b.old_chunk, b.new_chunk);
  };
  std::sort(bad.begin(), bad.end(), by_chunks);
  const auto last_bad =
      std::find_if(batch_.entries.begin(), batch_.entries.end(), [&](const Exception& entry) {
        return std::binary_search(bad.begin(), bad.end(), entry, by_chunks);
      });
  batch_.clear_count = std::min<uint64_t>(batch_.clear_count,
                                          static_cast<uint64_t>(last_bad - batch_.entries.begin()));
  return {};
}

}  // namespace snaptool
