// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace snaptool {

// How far a long operation is: the library adds, whoever shows it reads at its own pace. Bytes.
// What is got past without being read or written (a hole) counts as far as the way goes, but not as
// speed.
class Progress {
 public:
  void set_size(uint64_t size) { size_.store(size, std::memory_order_relaxed); }
  void add(uint64_t bytes) { moved_.fetch_add(bytes, std::memory_order_relaxed); }
  void skip(uint64_t bytes) { skipped_.fetch_add(bytes, std::memory_order_relaxed); }
  void reset() {
    moved_.store(0, std::memory_order_relaxed);
    skipped_.store(0, std::memory_order_relaxed);
  }
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  uint64_t moved() const { return moved_.load(std::memory_order_relaxed); }
  uint64_t skipped() const { return skipped_.load(std::memory_order_relaxed); }
  uint64_t transferred() const { return moved() + skipped(); }

 private:
  std::atomic<uint64_t> size_{0};
  std::atomic<uint64_t> moved_{0};
  std::atomic<uint64_t> skipped_{0};
};

// A request to stop, set by a signal handler or another thread and polled by the library between
// pieces of work, which then ends with kInterrupted and leaves what a crash at that point would.
class Cancel {
 public:
  void request() { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const { return requested_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> requested_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");
};

// What every long operation of the library takes: never null inside, so nobody tests for it.
struct Job {
  Progress& progress;
  const Cancel& cancel;
  unsigned jobs = 1;  // threads to use at most, at least 1
};

}  // namespace snaptool
