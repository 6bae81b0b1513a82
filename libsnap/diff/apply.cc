// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "libsnap/base/check.h"
#include "libsnap/base/parallel.h"
#include "libsnap/base/zstd.h"
#include "libsnap/copy/buffer_pool.h"

namespace snaptool {
namespace {

constexpr size_t kSlotsPerThread = 3;

// Looks at one window after the other, and at what the image has there.
class Checker {
 public:
  Checker(const Chain& chain, Image* base, bool resizable,
          const std::optional<ApplyProgress>& progress, const Apply::RangeVisitor& visit,
          uint64_t batch_limit, ChainReader& reader, const Job& job)
      : chain_(chain),
        shape_(chain.shape()),
        base_(base),
        resizable_(resizable),
        progress_(progress),
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
    return std::move(check_);
  }

 private:
  struct Slot {
    WindowChange change;
    std::vector<ChangeExtent> extents;
    bool done = false;
  };

  Result<void> look(Slot& slot) {
    BufferPool::Lease lease(tools_.buffers());
    const auto window = lease.bytes();
    if (base_ != nullptr) SNAP_TRY(load(slot.change, window));
    SNAP_ASSIGN(const ReplayedWindow replayed,
                chain_.replay(slot.change, resizable_, base_ != nullptr, window, tools_));
    slot.extents = replayed.extents;
    slot.done = false;
    if (base_ == nullptr) return {};
    const uint64_t number = slot.change.window;
    const bool was_written = progress_ && number < progress_->begin;
    const bool may_be_torn = progress_ && number >= progress_->begin && number < progress_->end;
    const bool sizes_right = progress_ || base_->size() == shape_.base_size || !resizable_;
    if (!replayed.unexpected && sizes_right && !was_written) return {};
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
    if (slot.done) check_.windows_done += windows;
    uint64_t bytes = 0;
    for (const ChangeExtent& extent : slot.extents) {
      const uint64_t length = windows * extent.length;  // several are zeroed whole
      bytes += length;
      if (visit_) visit_(slot.change.start() + extent.offset, length);
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
  const Apply::RangeVisitor& visit_;
  uint64_t batch_limit_;
  ChainReader& reader_;
  const Job& job_;
  ChainTools tools_;
  std::vector<Slot> slots_;
  ChainCheck check_;
  uint64_t batch_bytes_ = 0;
};

}  // namespace

Result<ChainCheck> Apply::check(Image* base, bool resizable,
                                const std::optional<ApplyProgress>& progress, const Job& job,
                                const RangeVisitor& visit) {
  if (base != nullptr && !progress) {
    const bool fits =
        resizable ? base->size() == shape().base_size || base->size() == shape().final_size()
                  : base->size() >= std::max(shape().base_size, shape().final_size());
    if (!fits) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' has {} bytes; '{}' is for an image of {}", base->name(),
                               base->size(), chain_.name(0), shape().base_size));
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
  const RangeVisitor look = [&](uint64_t offset, uint64_t length) {
    for (const size_t i : unmet) {
      if (expectations[i].overlaps(offset, length)) written[i] = true;
    }
    if (visit) visit(offset, length);
  };
  Checker checker(chain_, base, resizable, progress, look, options_.batch_bytes, reader, job);
  SNAP_ASSIGN(ChainCheck checked, checker.run());
  SNAP_ASSIGN(checked.ends, chain_.ends(reader));
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
                chain_.replay(change, target.resizable, false, window, tools));
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

Result<void> Apply::write(const ApplyTarget& target, const ChainCheck& checked,
                          ApplyJournal* journal, const Job& job) {
  File& file = *target.file;
  SNAP_ASSIGN(ChainReader reader, chain_.read(target.resizable));
  const uint64_t done = journal == nullptr ? 0 : journal->progress().begin;
  std::vector<uint64_t> ends = checked.batches;
  ends.push_back(UINT64_MAX);
  uint64_t begin = 0;
  bool sized = target.fresh || !target.resizable;
  for (const uint64_t end : ends) {
    if (end > done) {
      if (journal != nullptr) SNAP_TRY(journal->set({std::max(begin, done), end}));
      if (!sized && file.size() < shape().final_size()) SNAP_TRY(file.resize(shape().final_size()));
      sized = true;
    }
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
