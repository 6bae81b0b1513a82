// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/writeback.h"

#include <fcntl.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "libsnap/base/blocked_signals.h"

namespace snaptool {

void Writeback::start_now(ByteRange range) const {
  ::sync_file_range(fd_, static_cast<off_t>(range.offset), static_cast<off_t>(range.length),
                    SYNC_FILE_RANGE_WRITE);
}

void Writeback::start(ByteRange range) {
  const std::lock_guard lock(mutex_);
  if (next_.length > 0) {
    const uint64_t end = std::max(next_.offset + next_.length, range.offset + range.length);
    range.offset = std::min(next_.offset, range.offset);
    range.length = end - range.offset;
  }
  next_ = range;
  if (running_) return;
  try {
    const BlockedSignals blocked;
    thread_ = std::async(std::launch::async, [this] { work(); });
    running_ = true;
  } catch (const std::system_error&) {  // no thread to be had
    start_now(std::exchange(next_, {}));
  }
}

void Writeback::work() {
  while (true) {
    ByteRange range;
    {
      const std::lock_guard lock(mutex_);
      range = std::exchange(next_, {});
      if (range.length == 0) {
        running_ = false;
        return;
      }
    }
    start_now(range);
  }
}

}  // namespace snaptool
