// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "libsnap/base/progress.h"
#include "libsnap/base/result.h"

namespace snaptool::access {

// Writes all of it to a descriptor, also one that does not block. Errors: kIo (errno EPIPE when the
// reader is gone), kNoSpace; kInterrupted while it waits.
Result<void> write_all(int fd, std::span<const std::byte> bytes, const Cancel& cancel);

// Where an output that is not a file goes: standard output for "-", a FIFO or character device that
// `path` names. Nothing for anything else (a file is made, a block device written in place).
// Errors: kInvalidArgument when that would print binary data to a terminal; kIo.
class StreamTarget {
 public:
  enum class Content { kText, kBinary };
  static Result<StreamTarget> open(const std::string& path, Content content, const Cancel& cancel);
  // Whether there is one. Opens nothing.
  static bool is_named_by(const std::string& path);
  StreamTarget() = default;  // nowhere
  StreamTarget(StreamTarget&& other) noexcept;
  StreamTarget& operator=(StreamTarget&&) = delete;
  ~StreamTarget();

  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // Whether nothing is kept of it (/dev/null).
  bool discards() const;

 private:
  StreamTarget(int fd, bool owned) : fd_(fd), owned_(owned) {}
  int fd_ = -1;
  bool owned_ = false;
};

}  // namespace snaptool::access
