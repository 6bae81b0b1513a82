// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>

#include "libsnap/base/progress.h"
#include "libsnap/base/result.h"

namespace snaptool {

// A clock that only goes forward; tests bring their own.
using Clock = std::function<std::chrono::nanoseconds()>;
std::chrono::nanoseconds steady_now();

// How fast something may be done.
struct RateLimit {
  uint64_t bytes_per_second = 0;  // 0: as fast as it goes
  // Of the time, how much may be spent working, 1 to 100: what the kernel's parameter
  // snapshot_copy_throttle is for a merge of its own (dm-kcopyd.c, Linux 6.1).
  unsigned percent = 100;

  bool none() const { return bytes_per_second == 0 && percent == 100; }
};

// Keeps work within a RateLimit: whoever has done some says how much, and is held up. Several
// threads share one: while one is held up, the others are as soon as they ask.
class Throttle {
 public:
  explicit Throttle(RateLimit limit, Clock now = steady_now);

  // Work begins or goes on after something that does not count.
  void resume();
  // Waits as long as it takes after `bytes` of work. Errors: kInterrupted, within a tenth of a
  // second.
  Result<void> pause(uint64_t bytes, const Cancel& cancel);
  // How long it takes, from now on, and notes that it was waited for.
  std::chrono::nanoseconds due(uint64_t bytes);

 private:
  RateLimit limit_;
  Clock now_;
  std::mutex mutex_;
  std::chrono::nanoseconds working_since_{};
  std::chrono::nanoseconds next_{};  // with bytes_per_second: when the next byte may be done
};

}  // namespace snaptool
