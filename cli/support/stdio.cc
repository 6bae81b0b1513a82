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
#include <mutex>
#include <string>
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

bool is_stdout(const std::string& path) {
  struct stat named {};
  struct stat own {};
  return path == "-" || (::stat(path.c_str(), &named) == 0 && ::fstat(STDOUT_FILENO, &own) == 0 &&
                         named.st_dev == own.st_dev && named.st_ino == own.st_ino);
}

static JsonFollower& printed() {
  static JsonFollower follower;
  return follower;
}

const JsonFollower& printed_json() { return printed(); }

void begin_json() { printed() = {}; }

Result<void> print(std::string_view text) {
  erase_bar();
  auto done = access::write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), stop_requested());
  done ? printed().add(text) : printed().lose();
  return done;
}

static void write_error(std::string_view text) {
  auto ignored = access::write_all(STDERR_FILENO, std::as_bytes(std::span(text)), Cancel());
  static_cast<void>(ignored);
}

// Whether standard error shows a bar: its cursor is then at the end of that.
static std::mutex g_bar_mutex;
static bool g_bar_shown = false;  // guarded by g_bar_mutex

constexpr std::string_view kEraseLine = "\r\x1b[K";

void print_error(std::string_view text) {
  const std::lock_guard lock(g_bar_mutex);
  if (std::exchange(g_bar_shown, false)) write_error(kEraseLine);
  write_error(text);
}

void draw_bar(std::string_view text, bool last) {
  // In this order it does not flicker.
  const std::string line = "\r" + std::string(text) + "\x1b[K" + (last ? "\n" : "");
  const std::lock_guard lock(g_bar_mutex);
  write_error(line);
  g_bar_shown = !last;
}

void erase_bar() {
  const std::lock_guard lock(g_bar_mutex);
  if (std::exchange(g_bar_shown, false)) write_error(kEraseLine);
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
