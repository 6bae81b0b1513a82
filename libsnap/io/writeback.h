// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <future>
#include <mutex>

#include "libsnap/base/units.h"

namespace snaptool {

// Starts the writeback of ranges of a file beside whatever else is done. The kernel finds blocks
// for them before sync_file_range returns, which takes as long as copying them did.
class Writeback {
 public:
  // Requires: the descriptor stays open for as long as this lives.
  explicit Writeback(int fd) : fd_(fd) {}
  Writeback(const Writeback&) = delete;
  Writeback& operator=(const Writeback&) = delete;
  // Waits for what has begun.
  ~Writeback() = default;

  // Ranges that come while one is under way are started together, with what lies between them.
  void start(ByteRange range);

 private:
  // Errors are kept by the kernel for fdatasync: this waits for nothing, so it takes none away.
  void start_now(ByteRange range) const;
  void work();

  int fd_;
  std::mutex mutex_;  // guards what follows
  ByteRange next_;    // yet to be started; empty: nothing
  bool running_ = false;
  std::future<void> thread_;
};

}  // namespace snaptool
