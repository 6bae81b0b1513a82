// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/exception_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <queue>

#include "libsnap/base/check.h"

namespace snaptool {

ExceptionTable::Run ExceptionTable::make_run(uint64_t old_chunk, uint64_t new_chunk,
                                             uint64_t length) {
  Run run{};
  run.old_chunk = old_chunk & kUnreachable;
  run.new_chunk = new_chunk & kUnreachable;
  run.length_low = (length - 1) & 0x3ff;
  run.length_high = ((length - 1) >> 10) & 0x3ff;
  return run;
}

Result<void> ExceptionTable::visit_runs(PersistentStore& store, const Cancel& cancel,
                                        uint64_t end_chunk,
                                        const std::function<void(const Run&)>& visit) {
  uint64_t old_chunk = 0;
  uint64_t new_chunk = 0;
  uint64_t length = 0;
  const auto end_run = [&] {
    if (length > 0) visit(make_run(old_chunk, new_chunk, length));
    length = 0;
  };
  SNAP_TRY(store.read_metadata(
      [&](uint64_t area, uint64_t first, std::span<const Exception> entries) -> Result<void> {
        for (size_t i = 0; i < entries.size(); ++i) {
          const Exception& entry = entries[i];
          if (entry.new_chunk >= kNewChunkLimit) {
            return Error(
                ErrorCode::kCorruption,
                fmt::format("entry {} of area {} of '{}' names data chunk {:#x}; the kernel would "
                            "take its top byte for a run length",
                            first + i, area, store.cow().name(), entry.new_chunk));
          }
          const bool reachable = entry.new_chunk < kUnreachable;
          if (length > 0 && reachable && length < kMaxRun &&
              entry.old_chunk == old_chunk + length && entry.new_chunk == new_chunk + length &&
              entry.old_chunk < end_chunk) {
            ++length;
            continue;
          }
          end_run();
          if (entry.old_chunk >= end_chunk) continue;
          old_chunk = entry.old_chunk;
          new_chunk = reachable ? entry.new_chunk : kUnreachable;
          length = 1;
        }
        return {};
      },
      cancel));
  end_run();
  return {};
}

Result<ExceptionTable> ExceptionTable::load(PersistentStore& store, const Cancel& cancel,
                                            uint64_t end_chunk) {
  end_chunk = std::min(end_chunk, kUnreachable);
  // Counted first, so that the memory is no more than the runs need.
  size_t count = 0;
  SNAP_TRY(visit_runs(store, cancel, end_chunk, [&](const Run&) { ++count; }));
  ExceptionTable table;
  table.runs_.reserve(count);
  SNAP_TRY(
      visit_runs(store, cancel, end_chunk, [&](const Run& run) { table.runs_.push_back(run); }));

  const auto by_old = [](const Run& a, const Run& b) { return a.old_chunk < b.old_chunk; };
  if (!std::is_sorted(table.runs_.begin(), table.runs_.end(), by_old)) {
    std::sort(table.runs_.begin(), table.runs_.end(), by_old);
  }
  const auto overlap =
      std::adjacent_find(table.runs_.begin(), table.runs_.end(),
                         [](const Run& a, const Run& b) { return b.old_chunk < a.end(); });
  if (overlap != table.runs_.end()) {
    table.runs_ = {};
    SNAP_ASSIGN(table.runs_, resolve_duplicates(store, cancel, end_chunk));
  }
  return table;
}

Result<std::vector<ExceptionTable::Run>> ExceptionTable::resolve_duplicates(PersistentStore& store,
                                                                            const Cancel& cancel,
                                                                            uint64_t end_chunk) {
  struct Ordered {
    Run run;
    uint64_t order;  // place in the list
  };
  std::vector<Ordered> all;
  SNAP_TRY(visit_runs(store, cancel, end_chunk, [&](const Run& run) {
    all.push_back({run, all.size()});
  }));
  std::sort(all.begin(), all.end(),
            [](const Ordered& a, const Ordered& b) { return a.run.old_chunk < b.run.old_chunk; });

  // Sweep over the old chunks; of the runs that cover a chunk, the earliest in the list supplies
  // it.
  const auto later = [&](size_t a, size_t b) { return all[a].order > all[b].order; };
  std::priority_queue<size_t, std::vector<size_t>, decltype(later)> covering(later);
  std::vector<Run> result;
  size_t next = 0;
  uint64_t at = 0;
  while (next < all.size() || !covering.empty()) {
    if (covering.empty()) at = std::max<uint64_t>(at, all[next].run.old_chunk);
    while (next < all.size() && all[next].run.old_chunk <= at) covering.push(next++);
    while (!covering.empty() && all[covering.top()].run.end() <= at) covering.pop();
    if (covering.empty()) continue;
    const Run& run = all[covering.top()].run;
    uint64_t stop = run.end();
    if (next < all.size()) stop = std::min<uint64_t>(stop, all[next].run.old_chunk);
    result.push_back(make_run(at, run.new_chunk + (at - run.old_chunk), stop - at));
    at = stop;
  }
  return result;
}

void ExceptionTable::insert(uint64_t old_chunk, uint64_t new_chunk) {
  SNAP_CHECK(old_chunk < kUnreachable && new_chunk < kUnreachable);
  auto next = added_.upper_bound(old_chunk);
  if (next != added_.begin()) {
    Run& before = std::prev(next)->second;
    if (before.end() == old_chunk && before.new_chunk + before.length() == new_chunk &&
        before.length() < kMaxRun) {
      before = make_run(before.old_chunk, before.new_chunk, before.length() + 1);
      return;
    }
  }
  added_.emplace_hint(next, old_chunk, make_run(old_chunk, new_chunk, 1));
  constexpr size_t kFewest = 4096;
  if (added_.size() >= kFewest && added_.size() >= runs_.size() / 4) settle_added();
}

void ExceptionTable::settle_added() {
  if (added_.empty()) return;
  std::vector<Run> all;
  all.reserve(runs_.size() + added_.size());
  auto added = added_.begin();
  for (const Run& run : runs_) {
    for (; added != added_.end() && added->first < run.old_chunk; ++added) {
      all.push_back(added->second);
    }
    all.push_back(run);
  }
  for (; added != added_.end(); ++added) all.push_back(added->second);
  runs_ = std::move(all);
  added_.clear();
}

void ExceptionTable::visit(const std::function<void(uint64_t, uint64_t, uint64_t)>& visitor) {
  settle_added();
  for (const Run& run : runs_) visitor(run.old_chunk, run.new_chunk, run.length());
}

ExceptionTable::Found ExceptionTable::find(uint64_t old_chunk) const {
  const auto next_added = added_.upper_bound(old_chunk);
  if (next_added != added_.begin()) {
    const Run& run = std::prev(next_added)->second;
    if (old_chunk < run.end()) {
      const uint64_t into = old_chunk - run.old_chunk;
      return {true, run.new_chunk + into, run.length() - into};
    }
  }
  Found found = find_in_runs(old_chunk);
  if (!found.mapped && next_added != added_.end()) {
    found.length = std::min(found.length, next_added->first - old_chunk);
  }
  return found;
}

ExceptionTable::Found ExceptionTable::find_in_runs(uint64_t old_chunk) const {
  const auto next =
      std::upper_bound(runs_.begin(), runs_.end(), old_chunk,
                       [](uint64_t chunk, const Run& run) { return chunk < run.old_chunk; });
  if (next != runs_.begin()) {
    const Run& run = *std::prev(next);
    if (old_chunk < run.end()) {
      const uint64_t into = old_chunk - run.old_chunk;
      return {true, run.new_chunk + into, run.length() - into};
    }
  }
  return {false, 0, (next == runs_.end() ? UINT64_MAX : uint64_t{next->old_chunk}) - old_chunk};
}

}  // namespace snaptool
