// SPDX-License-Identifier: Apache-2.0
#include "cli/support/stdio.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "cli/support/signals.h"
#include "libsnap/access/stream.h"

namespace snaptool::cli {

void allow_many_files() {
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &files);
}

void occupy_standard_streams() {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest that is free is this one. The wrong direction makes every use of it fail.
    const int null = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (null >= 0 && null != fd) ::close(null);
  }
}

std::vector<FileId> printed_to(const std::vector<int>& fds) {
  std::vector<FileId> ids;
  for (const int fd : fds) {
    struct stat st {};
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || ::fstat(fd, &st) != 0) continue;
    if (S_ISREG(st.st_mode)) ids.push_back({st.st_dev, st.st_ino});
    if (S_ISBLK(st.st_mode)) ids.push_back({0, st.st_rdev});
  }
  return ids;
}

Result<void> print(std::string_view text) {
  return access::write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), stop_requested());
}

void print_error(std::string_view text) {
  auto ignored = access::write_all(STDERR_FILENO, std::as_bytes(std::span(text)), Cancel());
  static_cast<void>(ignored);
}

// As bash and zsh take it: bytes that must not reach a terminal as \xNN.
static std::string quoted_with_escapes(std::string_view word) {
  std::string text;
  for (const char c : word) {
    if (c == '\\' || c == '\'') text += '\\';
    text += c;
  }
  return "$'" + printable(text) + "'";
}

std::string shell_quoted(std::string_view word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:@%+=,").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(word);
  if (printable(word) != word) return quoted_with_escapes(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace snaptool::cli
