// SPDX-License-Identifier: Apache-2.0
// Preloaded into snaptool, a file system that has no files without a name (O_TMPFILE).
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

extern "C" int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
  const mode_t mode = nameless || (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (nameless) {
    // So that a test knows that it was asked for.
    if (const char* const seen = std::getenv("NO_TMPFILE_SEEN")) {
      close(static_cast<int>(syscall(SYS_openat, AT_FDCWD, seen, O_CREAT | O_WRONLY, 0600)));
    }
    errno = EOPNOTSUPP;
    return -1;
  }
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
