// SPDX-License-Identifier: Apache-2.0
// Preloaded into snaptool, a file system whose map of holes is wrong: it calls the bytes of every
// file from LYING_MAP_FROM to LYING_MAP_TO a hole.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

namespace {

off_t number(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? 0 : std::atoll(text);
}

off_t real(int fd, off_t offset, int whence) { return syscall(SYS_lseek, fd, offset, whence); }

}  // namespace

extern "C" off_t lseek64(int fd, off_t offset, int whence) noexcept {
  const off_t from = number("LYING_MAP_FROM");
  const off_t to = number("LYING_MAP_TO");
  if (whence == SEEK_DATA && offset >= from && offset < to) offset = to;
  if (whence == SEEK_HOLE && offset >= from && offset < to) return offset;
  const off_t found = real(fd, offset, whence);
  if (whence == SEEK_DATA && found >= from && found < to) return real(fd, to, whence);
  if (whence == SEEK_HOLE && offset < from && found > from) return from;
  return found;
}
