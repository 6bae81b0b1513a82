// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace snaptool::access {

// Where somebody else may keep us waiting, a signal must be noticed meanwhile.
static constexpr int kLookAgain = 100;  // ms

Result<void> write_all(int fd, std::span<const std::byte> bytes, const Cancel& cancel) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {  // the pipe is full
        struct pollfd wait {
          fd, POLLOUT, 0
        };
        ::poll(&wait, 1, kLookAgain);
        if (!cancel.requested()) continue;
        return Error(ErrorCode::kInterrupted, "interrupted");
      }
      return Error::from_errno(
          errno, fd == STDOUT_FILENO ? "write to standard output" : "write to the output");
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

// A FIFO waits for its reader.
static Result<int> open_stream(const std::string& path, bool is_fifo, const Cancel& cancel) {
  while (!cancel.requested()) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | (is_fifo ? O_NONBLOCK : 0));
    if (fd >= 0) return fd;
    if (errno != ENXIO || !is_fifo) {
      return Error::from_errno(errno, fmt::format("cannot open '{}'", path));
    }
    ::poll(nullptr, 0, kLookAgain);
  }
  return Error(ErrorCode::kInterrupted, "interrupted");
}

// The same pipe, to be written to without waiting; -1: it is none, or may not be opened. The flag
// of a descriptor that others have, too, would be theirs as well.
static int reopen_pipe(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode)) return -1;
  return ::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
}

bool StreamTarget::is_named_by(const std::string& path) {
  struct stat st {};
  return path == "-" ||
         (::stat(path.c_str(), &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)));
}

Result<StreamTarget> StreamTarget::open(const std::string& path, Content content,
                                        const Cancel& cancel) {
  StreamTarget target(-1, false);
  struct stat st {};
  if (path == "-") {
    const int own = reopen_pipe(STDOUT_FILENO);
    target.fd_ = own >= 0 ? own : STDOUT_FILENO;
    target.owned_ = own >= 0;
  } else if (::stat(path.c_str(), &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
    SNAP_ASSIGN(target.fd_, open_stream(path, S_ISFIFO(st.st_mode), cancel));
    target.owned_ = true;
  }
  if (content == Content::kBinary && target && ::isatty(target.fd_) == 1) {
    return Error(ErrorCode::kInvalidArgument,
                 "this would print binary data to the terminal: name a file, or use a pipe");
  }
  return target;
}

StreamTarget::StreamTarget(StreamTarget&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), owned_(other.owned_) {}

bool StreamTarget::discards() const {
  struct stat st {};
  struct stat null {};
  return ::fstat(fd_, &st) == 0 && ::stat("/dev/null", &null) == 0 && S_ISCHR(st.st_mode) &&
         st.st_rdev == null.st_rdev;
}

StreamTarget::~StreamTarget() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

}  // namespace snaptool::access
