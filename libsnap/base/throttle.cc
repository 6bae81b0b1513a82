// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/throttle.h"

#include <algorithm>
#include <thread>

#include "libsnap/base/check.h"

namespace snaptool {

using std::chrono::nanoseconds;

nanoseconds steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

Throttle::Throttle(RateLimit limit, Clock now) : limit_(limit), now_(std::move(now)) {
  SNAP_CHECK(limit_.percent >= 1 && limit_.percent <= 100);
}

void Throttle::resume() {
  if (limit_.none()) return;
  const std::lock_guard lock(mutex_);
  working_since_ = now_();
  next_ = std::max(next_, working_since_);
}

nanoseconds Throttle::due(uint64_t bytes) {
  const nanoseconds now = now_();
  nanoseconds until = now;
  if (limit_.percent < 100)
    until += (now - working_since_) * (100 - limit_.percent) / limit_.percent;
  if (limit_.bytes_per_second > 0) {
    const double seconds =
        static_cast<double>(bytes) / static_cast<double>(limit_.bytes_per_second);
    // A century is as good as longer, and can be counted in.
    next_ += nanoseconds(static_cast<int64_t>(std::min(seconds, 3.2e9) * 1e9));
    until = std::max(until, next_);
  }
  working_since_ = until;
  return until - now;
}

Result<void> Throttle::pause(uint64_t bytes, const Cancel& cancel) {
  if (limit_.none()) return {};
  constexpr nanoseconds kSlice = std::chrono::milliseconds(100);
  const std::lock_guard lock(mutex_);
  for (nanoseconds left = due(bytes); left.count() > 0; left -= std::min(left, kSlice)) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    std::this_thread::sleep_for(std::min(left, kSlice));
  }
  return {};
}

}  // namespace snaptool
