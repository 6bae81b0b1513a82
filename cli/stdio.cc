// SPDX-License-Identifier: Apache-2.0
#include "cli/stdio.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cli/signals.h"

namespace snaptool::cli {

// Where somebody else may keep us waiting, a signal must be noticed meanwhile.
static constexpr int kLookAgain = 100;  // ms

Result<void> write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {  // the pipe is full
        struct pollfd wait {
          fd, POLLOUT, 0
        };
        ::poll(&wait, 1, kLookAgain);
        if (!stop_requested().requested()) continue;
        return Error(ErrorCode::kInterrupted, "interrupted");
      }
      return Error::from_errno(
          errno, fd == STDOUT_FILENO ? "write to standard output" : "write to the output");
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

void occupy_standard_streams() {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest that is free is this one. The wrong direction makes every use of it fail.
    const int null = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (null >= 0 && null != fd) ::close(null);
  }
}

std::vector<FileId> printed_to() {
  std::vector<FileId> ids;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat st {};
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || ::fstat(fd, &st) != 0) continue;
    if (S_ISREG(st.st_mode)) ids.push_back({st.st_dev, st.st_ino});
    if (S_ISBLK(st.st_mode)) ids.push_back({0, st.st_rdev});
  }
  return ids;
}

Result<void> print(std::string_view text) {
  return write_all(STDOUT_FILENO, std::as_bytes(std::span(text)));
}

void print_error(std::string_view text) {
  auto ignored = write_all(STDERR_FILENO, std::as_bytes(std::span(text)));
  static_cast<void>(ignored);
}

// A FIFO waits for its reader.
static Result<int> open_stream(const std::string& path, bool is_fifo) {
  while (!stop_requested().requested()) {
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

Result<StreamTarget> StreamTarget::open(const std::string& path, Content content) {
  StreamTarget target(-1, false);
  struct stat st {};
  if (path == "-") {
    const int own = reopen_pipe(STDOUT_FILENO);
    target.fd_ = own >= 0 ? own : STDOUT_FILENO;
    target.owned_ = own >= 0;
  } else if (::stat(path.c_str(), &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
    SNAP_ASSIGN(target.fd_, open_stream(path, S_ISFIFO(st.st_mode)));
    target.owned_ = true;
  }
  if (content == Content::kBinary && target && ::isatty(target.fd_) == 1) {
    return Error(ErrorCode::kInvalidArgument,
                 "this would print binary data to the terminal: use -o FILE, or a pipe");
  }
  return target;
}

StreamTarget::StreamTarget(StreamTarget&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), owned_(other.owned_) {}

StreamTarget::~StreamTarget() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    // How many bytes a well-formed UTF-8 character that begins here has; 0 if none does.
    size_t length = c < 0x80                  ? 1
                    : (c >= 0xc2 && c < 0xe0) ? 2
                    : (c >= 0xe0 && c < 0xf0) ? 3
                    : (c >= 0xf0 && c < 0xf5) ? 4
                                              : 0;
    if (c < 0x20 || c == 0x7f || i + length > text.size()) length = 0;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) length = 0;
    }
    if (length == 2 && c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      length = 0;  // C1 controls
    if (length == 0) {
      out += fmt::format("\\x{:02x}", c);
      ++i;
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

std::string shell_quoted(std::string_view word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:@%+=,").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace snaptool::cli
