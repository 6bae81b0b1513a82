// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/io/file.h"

namespace snaptool::cli {

// Occupies descriptors 0 to 2 where they are closed, so that no file that is opened gets one of
// them: a message would go into it. Using such a stream is still an error.
void occupy_standard_streams();

// The files and block devices that standard output and standard error go into.
std::vector<FileId> printed_to();

// Writes all of it to a descriptor. Errors: kIo (errno EPIPE when the reader is gone), kNoSpace.
Result<void> write_all(int fd, std::span<const std::byte> bytes);
Result<void> print(std::string_view text);  // to standard output
// To standard error; there is nobody to tell when that fails.
void print_error(std::string_view text);

// Where an output that is not a file goes: standard output for "-", a FIFO or character device that
// `path` names. Nothing for anything else (a file is made, a block device written in place).
// Errors: kInvalidArgument when that would print binary data to a terminal; kIo.
class StreamTarget {
 public:
  enum class Content { kText, kBinary };
  static Result<StreamTarget> open(const std::string& path, Content content);
  StreamTarget(StreamTarget&& other) noexcept;
  StreamTarget& operator=(StreamTarget&&) = delete;
  ~StreamTarget();

  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  StreamTarget(int fd, bool owned) : fd_(fd), owned_(owned) {}
  int fd_;
  bool owned_;
};

// The text on one line: control characters and broken UTF-8 become \xNN.
std::string printable(std::string_view text);
// The word as a POSIX shell would need it quoted.
std::string shell_quoted(std::string_view word);

}  // namespace snaptool::cli
