// SPDX-License-Identifier: Apache-2.0
// Preloaded into snaptool, an image that has taken over the program: as soon as the sandbox is
// entered, it tries what CURIOUS_SECRET, a file that is there, and
// CURIOUS_NEW, one that is not, are good for. A line on standard error says what it got.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

void tell(const char* what, long result) {
  dprintf(STDERR_FILENO, "%s:%d ", what, result < 0 ? errno : 0);
}

void try_all() {
  const char* const secret = std::getenv("CURIOUS_SECRET");
  const char* const made = std::getenv("CURIOUS_NEW");
  dprintf(STDERR_FILENO, "curious ");
  tell("read", open(secret, O_RDONLY | O_CLOEXEC));
  tell("write", open(secret, O_WRONLY | O_CLOEXEC));
  tell("truncate", truncate(secret, 0));
  tell("make", open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  tell("remove", unlink(secret));
  tell("rename", rename(secret, made));
  tell("list", open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  tell("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  char name[] = "/bin/true";
  char* arguments[] = {name, nullptr};
  tell("execute", execve(name, arguments, arguments + 1));
  dprintf(STDERR_FILENO, "\n");
}

}  // namespace

// The last step into the sandbox.
extern "C" int seccomp_load(void* filter) {
  using Load = int (*)(void*);
  const auto load = reinterpret_cast<Load>(dlsym(RTLD_NEXT, "seccomp_load"));
  const int result = load(filter);
  try_all();
  return result;
}
