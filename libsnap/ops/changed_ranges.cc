// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/changed_ranges.h"

#include <algorithm>

namespace snaptool::ops {
namespace {

constexpr size_t kMostRanges = size_t{1} << 20U;  // 16 MiB

}  // namespace

void ChangedRanges::add(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t end = offset + length;
  const uint64_t from = offset / grain_ * grain_;
  const uint64_t to = end > UINT64_MAX - grain_ ? UINT64_MAX : (end + grain_ - 1) / grain_ * grain_;
  if (!ranges_.empty() && ranges_.back().offset + ranges_.back().length >= from) {
    ByteRange& last = ranges_.back();
    last.length = std::max(last.offset + last.length, to) - last.offset;
    return;
  }
  ranges_.push_back({from, to - from});
  while (ranges_.size() > kMostRanges) coarsen();
}

void ChangedRanges::coarsen() {
  grain_ *= grain_ == 1 ? 4096 : 4;
  std::vector<ByteRange> fine;
  fine.swap(ranges_);
  for (const ByteRange& range : fine) add(range.offset, range.length);
}

bool ChangedRanges::touches(uint64_t offset, uint64_t length) const {
  const auto range = std::upper_bound(
      ranges_.begin(), ranges_.end(), offset,
      [](uint64_t place, const auto& one) { return place < one.offset + one.length; });
  return range != ranges_.end() && length > 0 &&
         (range->offset <= offset || range->offset - offset < length);
}

void IdSet::add(uint64_t id) {
  if (!runs_.empty()) {
    Run& last = runs_.back();
    if (last.first <= id && id <= last.last) return;
    if (last.last + 1 == id) {
      last.last = id;
      return;
    }
  }
  runs_.push_back({id, id});
}

void IdSet::seal() {
  std::sort(runs_.begin(), runs_.end(),
            [](const Run& a, const Run& b) { return a.first < b.first; });
  size_t kept = 0;
  for (const Run& run : runs_) {
    if (kept > 0 && run.first <= runs_[kept - 1].last + 1) {
      runs_[kept - 1].last = std::max(runs_[kept - 1].last, run.last);
    } else {
      runs_[kept++] = run;
    }
  }
  runs_.resize(kept);
}

bool IdSet::contains(uint64_t id) const {
  const auto run =
      std::upper_bound(runs_.begin(), runs_.end(), id,
                       [](uint64_t number, const Run& one) { return number <= one.last; });
  return run != runs_.end() && run->first <= id;
}

}  // namespace snaptool::ops
