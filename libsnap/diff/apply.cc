// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/parallel.h"
#include "libsnap/base/zstd.h"

namespace snaptool {
namespace {

// Looks at one window after the other, and at what the image has there.
class Checker {
 public:
  Checker(const Chain& chain, Image* base, bool resizable,
          const std::optional<ApplyProgress>& progress, bool size_may_differ,
          const Apply::RangeVisitor& visit, uint64_t batch_limit, ChainReader& reader,
          const Job& job)
      : chain_(chain),
        shape_(chain.shape()),
        base_(base),
        resizable_(resizable),
        progress_(progress),
        sizes_right_(progress || base == nullptr || base->size() == chain.shape().base_size ||
                     size_may_differ),
        visit_(visit),
        batch_limit_(batch_limit),
        reader_(reader),
        job_(job),
        slots_(std::max(1U, job.jobs) * kSlotsPerThread) {}

  Result<ChainCheck> run() {
    SNAP_TRY(parallel_ordered(slots_.size(), job_,
                              {[this](size_t i) -> Result<bool> {
                                 const auto window = reader_.peek();
                                 if (!window) return false;
                                 // Where there is something to read, one after the other.
                                 const bool behind =
                                     base_ == nullptr || *window * kWindowBytes >= base_->size();
                                 SNAP_TRY(reader_.next(slots_[i].change, behind ? UINT64_MAX : 1));
                                 return true;
                               },
                               [this](size_t i) { return look(slots_[i]); },
                               [this](size_t i) { return add(slots_[i]); },
                               {}}));
    if (shape_.full) check_.content = content_.finish(shape_.final_size());
    return std::move(check_);
  }

 private:
  struct Slot {
    WindowChange change;
    std::vector<ChangeExtent> extents;
    bool done = false;
    ContentSum::Part part;
  };

  Result<void> look(Slot& slot) {
    BufferPool::Lease lease(tools_.buffers());
    const auto window = lease.bytes();
    if (base_ != nullptr) SNAP_TRY(load(slot.change, window));
    SNAP_ASSIGN(const ReplayedWindow replayed,
                chain_.replay(slot.change, resizable_,
                              base_ != nullptr ? OldContent::kAll : OldContent::kWhereKnown, window,
                              tools_));
    slot.extents = replayed.extents;
    slot.done = false;
    if (base_ == nullptr && replayed.unexpected) {
      return chain_.does_not_follow(*replayed.unexpected, slot.change);
    }
    if (base_ == nullptr) {
      if (shape_.full) slot.part = part_of(slot.change, window);
      return {};
    }
    const uint64_t number = slot.change.window;
    const bool was_written = progress_ && number < progress_->begin;
    const bool may_be_torn = progress_ && number >= progress_->begin && number < progress_->end;
    if (!replayed.unexpected && sizes_right_ && !was_written) return {};
    SNAP_ASSIGN(slot.done, has_new_content(slot.change, replayed.extents, window));
    if (slot.done || may_be_torn) return {};
    const size_t which = replayed.unexpected.value_or(0);
    const auto& record = slot.change.records[which];
    const uint64_t at =
        record ? slot.change.start() + record->extents.front().offset : slot.change.start();
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is not what '{}' was made for: the window at byte {} has other "
                             "content{}",
                             base_->name(), chain_.name(which), at,
                             progress_ ? " (it was changed since the apply was interrupted)" : ""));
  }

  // What a window of a full chain adds to the identity of what it leads to.
  ContentSum::Part part_of(const WindowChange& change, std::span<std::byte> window) const {
    const uint64_t size = shape_.final_size();
    if (change.windows > 1 || change.start() >= size) return {};  // zeros, or cut off
    const uint64_t here = std::min(kWindowBytes, size - change.start());
    std::memset(window.data() + here, 0, window.size() - here);
    return ContentSum::part_of(change.window, window);
  }

  // Reads what the diffs are about; behind the base's end there are zeros.
  Result<void> load(const WindowChange& change, std::span<std::byte> window) const {
    for (const auto& record : change.records) {
      if (!record) continue;
      for (const ChangeExtent& extent : record->extents) {
        SNAP_TRY(read(change.start() + extent.offset, std::min(shape_.base_size, base_->size()),
                      window.subspan(extent.offset, extent.length)));
      }
    }
    return {};
  }

  Result<void> read(uint64_t offset, uint64_t end, std::span<std::byte> out) const {
    const size_t there = std::min<uint64_t>(out.size(), end > offset ? end - offset : 0);
    if (there > 0) SNAP_TRY(base_->read_at(offset, out.first(there)));
    std::memset(out.data() + there, 0, out.size() - there);
    return {};
  }

  // Whether the image has what the diffs lead to.
  Result<bool> has_new_content(const WindowChange& change, std::span<const ChangeExtent> extents,
                               std::span<const std::byte> window) {
    BufferPool::Lease lease(tools_.buffers());
    for (const ChangeExtent& extent : extents) {
      const auto now = lease.bytes().first(extent.length);
      SNAP_TRY(read(change.start() + extent.offset, base_->size(), now));
      if (std::memcmp(now.data(), window.data() + extent.offset, extent.length) != 0) return false;
    }
    return true;
  }

  Result<void> add(Slot& slot) {
    const uint64_t windows = slot.change.windows;
    check_.windows += windows;
    content_.add(slot.part);
    if (slot.done) check_.windows_done += windows;
    uint64_t bytes = 0;
    for (const ChangeExtent& extent : slot.extents) {
      const uint64_t length = windows * extent.length;  // several are zeroed whole
      bytes += length;
      if (visit_) {
        SNAP_TRY(visit_(slot.change.start() + extent.offset, length, extent.kind));
      }
    }
    if (batch_bytes_ > 0 && batch_bytes_ + bytes > batch_limit_) {
      check_.batches.push_back(slot.change.window);
      batch_bytes_ = 0;
    }
    batch_bytes_ += bytes;
    check_.bytes += bytes;
    job_.progress.add(bytes);
    slot.change.records.clear();
    return {};
  }

  const Chain& chain_;
  const ChainShape& shape_;
  Image* base_;
  bool resizable_;
  const std::optional<ApplyProgress>& progress_;
  const bool sizes_right_;
  const Apply::RangeVisitor& visit_;
  uint64_t batch_limit_;
  ChainReader& reader_;
  const Job& job_;
  ChainTools tools_;
  std::vector<Slot> slots_;
  ChainCheck check_;
  uint64_t batch_bytes_ = 0;
  ContentSum content_;
};

// Goes through an image in order, as it is and as it will be.
class WholeReader {
 public:
  WholeReader(const Chain& chain, Image* base, bool resizable, bool with_sums, ChainReader& reader,
              const Job& job)
      : chain_(chain),
        shape_(chain.shape()),
        base_(base),
        resizable_(resizable),
        with_sums_(with_sums),
        reader_(reader),
        job_(job),
        slots_(std::max(1U, job.jobs) * kSlotsPerThread) {}

  Result<WholeSums> run() {
    for (Slot& slot : slots_) {
      slot.before.resize(kWindowBytes);
      slot.after.resize(kWindowBytes);
    }
    SNAP_TRY(parallel_ordered(slots_.size(), job_,
                              {[this](size_t i) { return take(slots_[i]); },
                               [this](size_t i) { return work(slots_[i]); },
                               [this](size_t i) { return add(slots_[i]); },
                               {}}));
    WholeSums sums;
    sums.base_content = base_content_.finish(shape_.base_size);
    sums.target_content = target_content_.finish(shape_.final_size());
    if (!with_sums_) return sums;
    sums.base_sum = base_sum_.finish_digest();
    sums.target_sum = target_sum_.finish_digest();
    return sums;
  }

 private:
  struct Slot {
    uint64_t window = 0;
    std::optional<WindowChange> change;
    std::vector<std::byte> before;
    std::vector<std::byte> after;
    ContentSum::Part base;
    ContentSum::Part target;
  };

  static uint64_t bytes_in(uint64_t window, uint64_t size) {
    const uint64_t start = window * kWindowBytes;
    return std::min(kWindowBytes, size - std::min(size, start));
  }

  Result<bool> take(Slot& slot) {
    slot.window = next_++;
    slot.change.reset();
    const uint64_t end = std::max(shape_.base_size, shape_.final_size());
    if (slot.window >= div_round_up(end, kWindowBytes)) return false;
    if (reader_.peek() == slot.window) SNAP_TRY(reader_.next(slot.change.emplace()));
    return true;
  }

  Result<void> work(Slot& slot) {
    const uint64_t before = base_ == nullptr ? 0 : bytes_in(slot.window, shape_.base_size);
    const uint64_t after = bytes_in(slot.window, shape_.final_size());
    const auto there = std::span(slot.before).first(before);
    if (!there.empty()) SNAP_TRY(base_->read_at(slot.window * kWindowBytes, there));
    std::fill(slot.before.begin() + static_cast<ptrdiff_t>(before), slot.before.end(),
              std::byte{0});
    slot.base = ContentSum::part_of(slot.window, slot.before);
    slot.target = slot.base;
    if (slot.change || after < before) {
      slot.after = slot.before;
      if (slot.change) {
        SNAP_TRY(
            chain_.replay(*slot.change, resizable_, OldContent::kUnchecked, slot.after, tools_));
      }
      std::fill(slot.after.begin() + static_cast<ptrdiff_t>(after), slot.after.end(), std::byte{0});
      slot.target = ContentSum::part_of(slot.window, slot.after);
    } else if (with_sums_) {
      slot.after = slot.before;
    }
    return {};
  }

  Result<void> add(Slot& slot) {
    base_content_.add(slot.base);
    target_content_.add(slot.target);
    if (with_sums_) {
      base_sum_.update(std::span(slot.before).first(bytes_in(slot.window, shape_.base_size)));
      target_sum_.update(std::span(slot.after).first(bytes_in(slot.window, shape_.final_size())));
    }
    job_.progress.add(kWindowBytes);
    return {};
  }

  const Chain& chain_;
  const ChainShape& shape_;
  Image* base_;
  bool resizable_;
  bool with_sums_;
  ChainReader& reader_;
  const Job& job_;
  ChainTools tools_;
  std::vector<Slot> slots_;
  uint64_t next_ = 0;
  ContentSum base_content_;
  ContentSum target_content_;
  Sha256 base_sum_;
  Sha256 target_sum_;
};

}  // namespace

Result<WholeSums> Apply::whole_sums(Image* base, bool resizable, bool with_sums, const Job& job) {
  SNAP_ASSIGN(ChainReader reader, chain_.read(resizable));
  return WholeReader(chain_, base, resizable, with_sums, reader, job).run();
}

namespace {

// Whether an image was made larger, by a run that was stopped right then.
Result<bool> was_grown(const ChainShape& shape, Image& image) {
  if (shape.base_size >= shape.final_size() || image.size() != shape.final_size()) return false;
  RawBytes bytes;
  for (uint64_t at = shape.base_size; at < image.size();) {
    SNAP_ASSIGN(const Extent extent, image.extent_at(at, image.size() - at));
    if (extent.zero) {
      at += extent.length;
      continue;
    }
    bytes.resize(std::min(extent.length, kIoPiece));
    SNAP_TRY(image.read_at(at, bytes));
    if (!is_all_zero(bytes)) return false;
    at += bytes.size();
  }
  return true;
}

}  // namespace

Result<ChainCheck> Apply::check(Image* base, BaseSize size, bool resizable,
                                const std::optional<ApplyProgress>& progress, const Job& job,
                                const RangeVisitor& visit) {
  bool size_may_differ = size == BaseSize::kAtLeast;
  if (base != nullptr) {
    const uint64_t larger = std::max(shape().base_size, shape().final_size());
    const bool fits = size == BaseSize::kExact ? base->size() == shape().base_size ||
                                                     base->size() == shape().final_size()
                                               : base->size() >= larger;
    if (!fits) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' has {} bytes; '{}' is for an image of {}", base->name(),
                               base->size(), chain_.name(0), shape().base_size));
    }
    if (!progress && !size_may_differ && resizable) {
      SNAP_ASSIGN(size_may_differ, was_grown(shape(), *base));
    }
  }
  SNAP_ASSIGN(ChainReader reader, chain_.read(resizable));
  const auto& expectations = reader.reader(0).header().expectations;
  std::vector<size_t> unmet;
  if (base != nullptr && !progress) {
    SNAP_ASSIGN(unmet, unmet_expectations(expectations, *base));
  }
  // Where the chain writes, an image that it was applied to has something else.
  std::vector<bool> written(expectations.size());
  const RangeVisitor look = [&](uint64_t offset, uint64_t length, ChangeKind kind) -> Result<void> {
    for (const size_t i : unmet) {
      if (expectations[i].overlaps(offset, length)) written[i] = true;
    }
    return visit ? visit(offset, length, kind) : Result<void>();
  };
  Checker checker(chain_, base, resizable, progress, size_may_differ, look, options_.batch_bytes,
                  reader, job);
  SNAP_ASSIGN(ChainCheck checked, checker.run());
  SNAP_ASSIGN(checked.ends, chain_.ends(reader));
  const auto& target = checked.ends.back().target_content;
  if (checked.content && target && *checked.content != *target) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("the diffs do not lead to what '{}' was made to lead to: is one "
                             "missing, or is the order another?",
                             chain_.name(checked.ends.size() - 1)));
  }
  for (const ChangeEnd& end : checked.ends) {
    checked.totals.records += end.totals.records;
    checked.totals.data_bytes += end.totals.data_bytes;
    checked.totals.zero_bytes += end.totals.zero_bytes;
    checked.totals.discard_bytes += end.totals.discard_bytes;
  }
  const bool done = checked.windows > 0 && checked.windows_done == checked.windows;
  for (const size_t i : unmet) {
    if (done && written[i]) continue;
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' is not what '{}' was made for: it does not have what the diff "
                             "before that wrote at byte {} (is a diff missing?)",
                             base->name(), chain_.name(0), expectations[i].position()));
  }
  return checked;
}

// Writes the windows before `end`.
Result<void> Apply::write_batch(ChainReader& reader, uint64_t end, const ApplyTarget& target,
                                uint64_t skip_before, const Job& job) {
  ChainTools tools;
  File& file = *target.file;
  std::vector<WindowChange> slots(std::max(1U, job.jobs) * kSlotsPerThread);
  const auto take = [&](size_t i) -> Result<bool> {
    const auto window = reader.peek();
    if (!window || *window >= end) return false;
    uint64_t most = 1;
    if (target.resizable && *window * kWindowBytes >= shape().base_size) {
      most = (*window < skip_before ? std::min(end, skip_before) : end) - *window;
    }
    SNAP_TRY(reader.next(slots[i], most));
    return true;
  };
  const auto work = [&](size_t i) -> Result<void> {
    const WindowChange& change = slots[i];
    if (change.window < skip_before) return {};
    if (change.windows > 1) {  // zeros where the file grows: they are there
      job.progress.add(change.windows * kWindowBytes);
      return {};
    }
    BufferPool::Lease lease(tools.buffers());
    const auto window = lease.bytes();
    SNAP_ASSIGN(const ReplayedWindow replayed,
                chain_.replay(change, target.resizable, OldContent::kUnchecked, window, tools));
    uint64_t bytes = 0;
    for (const ChangeExtent& extent : replayed.extents) {
      const uint64_t offset = change.start() + extent.offset;
      bytes += extent.length;
      if (extent.kind == ChangeKind::kData) {
        SNAP_TRY(file.write_at(offset, window.subspan(extent.offset, extent.length)));
      } else if (!target.fresh || offset < shape().kept_size()) {
        SNAP_TRY(
            file.zero_at(offset, extent.length,
                         extent.kind == ChangeKind::kZero ? ZeroMode::kKeep : ZeroMode::kPunch));
      }
    }
    if (!replayed.extents.empty()) {
      const ChangeExtent& last = replayed.extents.back();
      const uint64_t first = replayed.extents.front().offset;
      file.start_writeback(change.start() + first, last.end() - first);
    }
    job.progress.add(bytes);
    return {};
  };
  const auto commit = [](size_t /*i*/) -> Result<void> { return {}; };
  return parallel_ordered(slots.size(), job, {take, work, commit, {}});
}

Result<void> Apply::grow(const ApplyTarget& target) {
  File& file = *target.file;
  if (target.fresh || !target.resizable || file.size() >= shape().final_size()) return {};
  return file.resize(shape().final_size());
}

Result<void> Apply::write(const ApplyTarget& target, const ChainCheck& checked,
                          ApplyJournal* journal, const Job& job) {
  File& file = *target.file;
  SNAP_TRY(grow(target));
  SNAP_ASSIGN(ChainReader reader, chain_.read(target.resizable));
  const uint64_t done = journal == nullptr ? 0 : journal->progress().begin;
  const uint64_t in_doubt = journal == nullptr ? 0 : journal->progress().end;
  std::vector<uint64_t> ends = checked.batches;
  ends.push_back(UINT64_MAX);
  uint64_t begin = 0;
  for (const uint64_t end : ends) {
    if (end > done && journal != nullptr)
      SNAP_TRY(journal->set({std::max(begin, done), std::max(end, in_doubt)}));
    SNAP_TRY(write_batch(reader, end, target, done, job));
    if (!target.fresh && end > done) SNAP_TRY(file.flush());
    begin = end;
  }
  if (!target.fresh && target.resizable && file.size() > shape().final_size()) {
    SNAP_TRY(file.resize(shape().final_size()));
    SNAP_TRY(file.flush());
  }
  // Should its file be there after all: it allows nothing any more.
  if (journal != nullptr) SNAP_TRY(journal->set(ApplyProgress::finished()));
  return {};
}

}  // namespace snaptool
