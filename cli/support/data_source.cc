// SPDX-License-Identifier: Apache-2.0
#include "cli/support/data_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "cli/support/signals.h"
#include "cli/support/stdio.h"
#include "libsnap/base/check.h"

namespace snaptool::cli {
namespace {

// The bytes from here to the end of a file or block device; nothing for anything else.
std::optional<uint64_t> rest_of(int fd, int64_t at) {
  struct stat st {};
  uint64_t size = 0;
  if (::fstat(fd, &st) != 0) return std::nullopt;
  if (S_ISREG(st.st_mode)) {
    size = static_cast<uint64_t>(st.st_size);
  } else if (!S_ISBLK(st.st_mode) || ::ioctl(fd, BLKGETSIZE64, &size) != 0) {
    return std::nullopt;
  }
  return size > static_cast<uint64_t>(at) ? size - static_cast<uint64_t>(at) : 0;
}

// A pipe may have nothing for long: a signal must be noticed meanwhile.
Result<void> wait_for_data(int fd) {
  constexpr int kLookAgain = 200;  // ms
  while (!stop_requested().requested()) {
    struct pollfd wait {
      fd, POLLIN, 0
    };
    if (::poll(&wait, 1, kLookAgain) > 0 && !stop_requested().requested()) return {};
  }
  return Error(ErrorCode::kInterrupted, "interrupted");
}

}  // namespace

Result<std::byte> parse_byte(std::string_view text) {
  const bool hex = text.substr(0, 2) == "0x" || text.substr(0, 2) == "0X";
  const std::string_view digits = hex ? text.substr(2) : text;
  unsigned value = 0;
  const auto [end, ec] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (ec != std::errc() || end != digits.data() + digits.size() || value > 255) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("-P takes a byte, from 0 to 255 or 0x00 to 0xff, not '{}'", text));
  }
  return static_cast<std::byte>(value);
}

std::optional<FileId> DataSource::id() const {
  struct stat st {};
  if (fd_ < 0 || ::fstat(fd_, &st) != 0) return std::nullopt;
  if (S_ISBLK(st.st_mode)) return FileId{0, st.st_rdev};
  if (!S_ISREG(st.st_mode)) return std::nullopt;
  return FileId{st.st_dev, st.st_ino};
}

unsigned DataSource::permissions() const {
  struct stat st {};
  // Who else could read a pipe cannot be told.
  return fd_ >= 0 && ::fstat(fd_, &st) == 0 && S_ISREG(st.st_mode) ? st.st_mode : 0666;
}

DataSource::DataSource(DataSource&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(other.fd_),
      owned_(other.owned_),
      pattern_(other.pattern_),
      length_(other.length_),
      done_(other.done_),
      start_(other.start_) {
  other.owned_ = false;
}

DataSource::~DataSource() {
  if (owned_) ::close(fd_);
}

Result<DataSource> DataSource::open(const Request& request) {
  DataSource source;
  source.length_ = request.length;
  if (request.pattern) {
    if (request.input) {
      return Error(ErrorCode::kInvalidArgument, "-i and -P: the data come from one or the other");
    }
    if (!request.length) {
      return Error(ErrorCode::kInvalidArgument, "-P needs a length: how often to write the byte");
    }
    SNAP_ASSIGN(source.pattern_, parse_byte(*request.pattern));
    source.name_ = "the pattern";
    source.start_ = 0;
    return source;
  }
  const std::string path = request.input.value_or("-");
  if (path == "-") {
    source.fd_ = STDIN_FILENO;
    source.name_ = kStandardInput;
    if (!request.is_text && ::isatty(STDIN_FILENO) == 1) {
      return Error(ErrorCode::kInvalidArgument,
                   "the data would come from the terminal: use -i FILE, -P BYTE or a pipe");
    }
  } else {
    // Neither a FIFO without a writer nor an empty one keeps us from noticing a signal.
    source.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source.fd_ < 0) return Error::from_errno(errno, fmt::format("cannot open '{}'", path));
    source.owned_ = true;
    source.name_ = fmt::format("'{}'", path);
    struct stat st {};
    if (::fstat(source.fd_, &st) == 0 && S_ISDIR(st.st_mode)) {
      return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is a directory", path));
    }
  }
  const off_t at = ::lseek(source.fd_, 0, SEEK_CUR);
  if (at >= 0) {
    const auto rest = rest_of(source.fd_, at);
    if (rest) source.start_ = at;
    if (rest && request.length && *rest < *request.length) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("{} has {} bytes, less than the {} that are to be written",
                               source.name_, *rest, *request.length));
    }
    if (!source.length_) source.length_ = rest;
  }
  return source;
}

Result<uint64_t> DataSource::read_some(std::span<std::byte> out) {
  while (true) {
    if (!start_) SNAP_TRY(wait_for_data(fd_));
    const ssize_t got = ::read(fd_, out.data(), out.size());
    if (got >= 0) return static_cast<uint64_t>(got);
    if (errno != EINTR && errno != EAGAIN) {
      return Error::from_errno(errno, fmt::format("read {}", name_));
    }
  }
}

Result<uint64_t> DataSource::read(std::span<std::byte> out) {
  if (length_) out = out.first(std::min<uint64_t>(out.size(), *length_ - done_));
  if (fd_ < 0) {
    std::fill(out.begin(), out.end(), pattern_);
    done_ += out.size();
    return out.size();
  }
  uint64_t got = 0;
  while (got < out.size()) {
    SNAP_ASSIGN(const uint64_t more, read_some(out.subspan(got)));
    if (more == 0) break;
    got += more;
  }
  done_ += got;
  if (got < out.size() && length_) {
    return Error(ErrorCode::kIo,
                 fmt::format("{} ended after {} of {} bytes", name_, done_, *length_));
  }
  return got;
}

Result<void> DataSource::rewind() {
  SNAP_CHECK(can_rewind());
  done_ = 0;
  if (fd_ >= 0 && ::lseek(fd_, *start_, SEEK_SET) < 0) {
    return Error::from_errno(errno, fmt::format("seek in {}", name_));
  }
  return {};
}

}  // namespace snaptool::cli
