// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/compare.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/parallel.h"
#include "libsnap/diff/candidates.h"

namespace snaptool {
namespace {

// A task reads so much of each image: both fit one buffer.
constexpr uint64_t kPiece = kIoPiece / 2;
constexpr size_t kTasks = 1024;  // in a window, which the threads share

// Bytes to be looked at. Where an image is a hole (or ended), it is not read.
struct Task {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool zero_a = false;
  bool zero_b = false;
  std::vector<Difference> found;
};

constexpr std::span<std::byte> kNothing;

uint64_t count_unequal(const std::byte* a, const std::byte* b, size_t length) {
  uint64_t count = 0;
  for (size_t i = 0; i < length; ++i) count += a[i] != b[i] ? 1U : 0U;
  return count;
}

uint64_t count_nonzero(const std::byte* a, size_t length) {
  uint64_t count = 0;
  for (size_t i = 0; i < length; ++i) count += a[i] != std::byte{0} ? 1U : 0U;
  return count;
}

void append(std::vector<Difference>& list, const Difference& next) {
  if (!list.empty() && list.back().offset + list.back().length == next.offset &&
      (list.back().changed_bytes > 0) == (next.changed_bytes > 0)) {
    list.back().length += next.length;
    list.back().changed_bytes += next.changed_bytes;
  } else {
    list.push_back(next);
  }
}

class Comparison {
 public:
  Comparison(Image& a, Image& b, const CompareOptions& options, const DifferenceVisitor& visit,
             const Job& job)
      : a_(a),
        b_(b),
        scan_(a, b, std::max(a.size(), b.size())),
        options_(options),
        visit_(visit),
        job_(job) {
    SNAP_CHECK(options.granularity >= kSectorSize);
  }

  Result<CompareSummary> run() {
    summary_.sizes_differ = a_.size() != b_.size();
    while (true) {
      SNAP_TRY(plan());
      if (tasks_.empty()) break;
      SNAP_TRY(parallel_for(tasks_.size(), job_, [this](size_t i) { return look(tasks_[i]); }));
      for (const Task& task : tasks_) {
        summary_.compared_bytes += task.length;
        for (const Difference& difference : task.found) SNAP_TRY(emit(difference));
      }
    }
    SNAP_TRY(visit_pending());
    summary_.same_storage_bytes = scan_.same_storage_bytes();
    summary_.hole_bytes = scan_.hole_bytes();
    return summary_;
  }

 private:
  // Gathers what is to be read next; nothing at the end.
  Result<void> plan() {
    tasks_.clear();
    while (tasks_.size() < kTasks) {
      SNAP_ASSIGN(const auto candidate, scan_.next((kTasks - tasks_.size()) * kPiece, job_));
      if (!candidate) break;
      for (uint64_t done = 0; done < candidate->length;) {
        const uint64_t at = candidate->offset + done;
        const uint64_t step = std::min(kPiece - at % kPiece, candidate->length - done);
        tasks_.push_back({at, step, candidate->zero_a, candidate->zero_b, {}});
        done += step;
      }
    }
    return {};
  }

  Result<void> look(Task& task) {
    BufferPool::Lease lease(buffers_);
    const auto a = task.zero_a ? kNothing : lease.bytes().first(task.length);
    const auto b = task.zero_b ? kNothing : lease.bytes().subspan(kPiece, task.length);
    if (!task.zero_a) SNAP_TRY(a_.read_at(task.offset, a));
    if (!task.zero_b) SNAP_TRY(b_.read_at(task.offset, b));
    look_at(task, a, b);
    job_.progress.add(task.length);
    return {};
  }

  // Finds what differs; an image without bytes has zeros there.
  void look_at(Task& task, std::span<const std::byte> a, std::span<const std::byte> b) const {
    const auto equal = [&](size_t from, size_t length) {
      if (a.empty()) return is_all_zero(b.subspan(from, length));
      if (b.empty()) return is_all_zero(a.subspan(from, length));
      return std::memcmp(a.data() + from, b.data() + from, length) == 0;
    };
    const bool other_allocation = options_.strict && a.empty() != b.empty();
    if (equal(0, task.length) && !other_allocation) return;
    const uint64_t unit = options_.granularity;
    for (uint64_t from = 0; from < task.length;) {
      const uint64_t to = std::min(task.length, from + unit - (task.offset + from) % unit);
      uint64_t changed = 0;
      if (!equal(from, to - from)) {
        changed = a.empty() || b.empty()
                      ? count_nonzero((a.empty() ? b : a).data() + from, to - from)
                      : count_unequal(a.data() + from, b.data() + from, to - from);
      }
      if (changed > 0 || other_allocation) {
        append(task.found, {task.offset + from, to - from, changed});
      }
      from = to;
    }
  }

  // Joins what continues the range before, which may have begun in the same granule.
  Result<void> emit(Difference next) {
    if (next.changed_bytes > 0) {
      const uint64_t unit = options_.granularity;
      const uint64_t end = std::max(a_.size(), b_.size());
      const uint64_t from = round_down(next.offset, unit);
      const uint64_t last = next.offset + next.length - 1;
      const uint64_t to = std::min(end, round_down(last, unit) + std::min(unit, end));
      next = {from, std::max(to, last + 1) - from, next.changed_bytes};
    }
    if (pending_.length > 0) {
      const uint64_t pending_end = pending_.offset + pending_.length;
      if (next.offset <= pending_end && (pending_.changed_bytes > 0) == (next.changed_bytes > 0)) {
        pending_.length = std::max(pending_end, next.offset + next.length) - pending_.offset;
        pending_.changed_bytes += next.changed_bytes;
        return {};
      }
      if (next.offset < pending_end) {
        // A hole against zeros, within the granule of a change: that says more.
        if (next.changed_bytes == 0) {
          const uint64_t next_end = next.offset + next.length;
          if (next_end <= pending_end) return {};
          next = {pending_end, next_end - pending_end, 0};
        } else {
          pending_.length = next.offset - pending_.offset;
        }
      }
    }
    SNAP_TRY(visit_pending());
    pending_ = next;
    return {};
  }

  Result<void> visit_pending() {
    if (pending_.length == 0) return {};
    ++summary_.ranges;
    summary_.range_bytes += pending_.length;
    summary_.changed_bytes += pending_.changed_bytes;
    const Difference difference = pending_;
    pending_ = {};
    return visit_(difference);
  }

  Image& a_;
  Image& b_;
  CandidateScan scan_;
  const CompareOptions& options_;
  const DifferenceVisitor& visit_;
  const Job& job_;
  std::vector<Task> tasks_;
  BufferPool buffers_;
  Difference pending_;
  CompareSummary summary_;
};

}  // namespace

Result<CompareSummary> compare_images(Image& a, Image& b, const CompareOptions& options,
                                      const DifferenceVisitor& visit, const Job& job) {
  return Comparison(a, b, options, visit, job).run();
}

}  // namespace snaptool
