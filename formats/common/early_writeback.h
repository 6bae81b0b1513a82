// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <mutex>

#include "libsnap/access/image_writer.h"
#include "libsnap/io/file.h"

namespace snaptool {

// Sends what is written to a file on its way to the medium while more is written, so that little is
// left for its flush. For writes that mostly ascend, from several threads.
class EarlyWriteback {
 public:
  explicit EarlyWriteback(File& file) : file_(file) {}

  // Writes what was placed of a piece. Errors: those of File.
  Result<void> write(const access::WritePiece& piece) {
    for (const access::WritePiece::Extent& extent : piece.extents) {
      SNAP_TRY(file_.write_at(extent.file_offset, extent.bytes));
      wrote(extent.file_offset, extent.bytes.size());
    }
    return {};
  }

  // The range was written.
  void wrote(uint64_t offset, uint64_t length) {
    uint64_t from = 0;
    uint64_t to = 0;
    {
      const std::lock_guard lock(mutex_);
      highest_ = std::max(highest_, offset + length);
      if (highest_ - started_ < kBehind + kStep) return;
      from = started_;
      to = highest_ - kBehind;
      started_ = to;
    }
    file_.start_writeback(from, to - from);
  }

 private:
  static constexpr uint64_t kStep = 8 * kMiB;    // at once
  static constexpr uint64_t kBehind = 4 * kMiB;  // others may still write there
  File& file_;
  std::mutex mutex_;  // guards what follows
  uint64_t highest_ = 0;
  uint64_t started_ = 0;
};

}  // namespace snaptool
