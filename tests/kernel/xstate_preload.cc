// SPDX-License-Identifier: Apache-2.0
// Lets user-mode-linux 6.1 run where the processor has AMX.
//
// It sets its processes' floating point registers with a buffer of a size fixed when it was built,
// which ends before AMX's tiles. The host takes nothing but the whole of what the processor has,
// and says EFAULT; then no process of the guest gets as far as its first instruction ("ptrace set
// fp regs failed"). Preloaded, this makes the buffer as long as the host wants it. What is added is
// zeros, and belongs to states that the buffer's header does not name as in use. On processors
// without AMX nothing is changed.
#include <dlfcn.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace {

constexpr uintptr_t kXState = 0x202;  // NT_X86_XSTATE, elf.h

using Ptrace = long (*)(int, pid_t, void*, void*);
Ptrace g_next = nullptr;
// Static, since the guest kernel's stacks are small. It has one processor, and does not leave it in
// between.
unsigned char g_state[1 << 16];

__attribute__((constructor)) void find_next() {
  g_next = reinterpret_cast<Ptrace>(dlsym(RTLD_NEXT, "ptrace"));
}

long set_whole_state(pid_t pid, const iovec& given) {
  static size_t whole = 0;
  if (whole == 0) {
    iovec all = {g_state, sizeof g_state};
    const long got = g_next(PTRACE_GETREGSET, pid, reinterpret_cast<void*>(kXState), &all);
    if (got != 0) return got;
    whole = all.iov_len;
    std::memset(g_state, 0, sizeof g_state);
  }
  iovec state = given;
  if (given.iov_len < whole) {
    std::memcpy(g_state, given.iov_base, given.iov_len);
    state = {g_state, whole};
  }
  return g_next(PTRACE_SETREGSET, pid, reinterpret_cast<void*>(kXState), &state);
}

}  // namespace

// glibc declares it with "...", but where its arguments are passed is the same. Its caller always
// gives all four.
extern "C" __attribute__((visibility("default"))) long ptrace_with_whole_state(
    int request, pid_t pid, void* address, void* data) noexcept __asm__("ptrace");

long ptrace_with_whole_state(int request, pid_t pid, void* address, void* data) noexcept {
  if (request == PTRACE_SETREGSET && reinterpret_cast<uintptr_t>(address) == kXState) {
    return set_whole_state(pid, *static_cast<iovec*>(data));
  }
  return g_next(request, pid, address, data);
}
