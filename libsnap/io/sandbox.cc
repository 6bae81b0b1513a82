// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <sched.h>
#include <scsi/sg.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace snaptool {
namespace {

// Rights that depend on the version of Landlock (linux/landlock.h of Linux 6.2).
constexpr uint64_t kRefer = 1ULL << 13;     // from version 2
constexpr uint64_t kTruncate = 1ULL << 14;  // from version 3

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr uint64_t kReadBelow = kRead | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kWrite = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
constexpr uint64_t kMake =
    kReadBelow | kWrite | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
// All of version 1: whatever no rule allows is refused.
constexpr uint64_t kFirstVersion = (1ULL << 13) - 1;

// Of what is no folder, a rule takes these only.
constexpr uint64_t kOfFiles = kWrite;

uint64_t rights_of_version(long version) {
  return kFirstVersion | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
}

class Ruleset {
 public:
  static std::optional<Ruleset> create() {
    const long version =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) return std::nullopt;
    landlock_ruleset_attr rules{};
    rules.handled_access_fs = rights_of_version(version);
    const long fd = ::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (fd < 0) return std::nullopt;
    return Ruleset(static_cast<int>(fd), rules.handled_access_fs);
  }
  Ruleset(Ruleset&& other) noexcept : fd_(std::exchange(other.fd_, -1)), handled_(other.handled_) {}
  Ruleset& operator=(Ruleset&&) = delete;
  ~Ruleset() {
    if (fd_ >= 0) ::close(fd_);
  }

  void allow(const std::string& path, uint64_t rights) const {
    const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    if (fd < 0) return;
    allow(fd, rights);
    ::close(fd);
  }
  // Pipes and sockets take no rules, and need none.
  void allow(int fd, uint64_t rights) const {
    struct stat st {};
    if (::fstat(fd, &st) != 0) return;
    landlock_path_beneath_attr rule{};
    rule.allowed_access = rights & handled_ & (S_ISDIR(st.st_mode) ? ~0ULL : kOfFiles);
    rule.parent_fd = fd;
    (void)::syscall(SYS_landlock_add_rule, fd_, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  }
  bool enforce() const { return ::syscall(SYS_landlock_restrict_self, fd_, 0) == 0; }

 private:
  Ruleset(int fd, uint64_t handled) : fd_(fd), handled_(handled) {}
  int fd_;
  uint64_t handled_;
};

// /dev/stdin and the like.
void allow_reopening(const Ruleset& rules, int fd) {
  struct stat st {};
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) return;
  rules.allow(fd, (flags & O_ACCMODE) == O_RDONLY ? kRead : kWrite);
}

bool confine_files(const AllowedFiles& files) {
  const auto rules = Ruleset::create();
  if (!rules) return false;
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) allow_reopening(*rules, fd);
  // Holders of block devices, loop devices, processors; what OpenSSL begins with.
  rules->allow("/sys", kReadBelow);
  rules->allow("/proc/self", kReadBelow);
  rules->allow("/etc/ssl/openssl.cnf", kRead);
  for (const std::string& path : files.read) rules->allow(path, kRead);
  for (const std::string& path : files.read_below) rules->allow(path, kReadBelow);
  for (const std::string& path : files.written) rules->allow(path, kWrite);
  for (const std::string& path : files.made_in) rules->allow(path, kMake);
  return rules->enforce();
}

// clang-format off
constexpr auto kRefused = std::to_array<int>({
  // Programs and processes
  SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
  SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal),
  SCMP_SYS(pidfd_getfd), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(chroot), SCMP_SYS(pivot_root),
  // The network
  SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen),
  // File systems
  SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount),
  SCMP_SYS(chmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(lchown), SCMP_SYS(fchownat), SCMP_SYS(lsetxattr),
  SCMP_SYS(fsconfig), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(open_by_handle_at), SCMP_SYS(swapon),
  // The kernel and the machine
  SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
  SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(userfaultfd),
  SCMP_SYS(perf_event_open), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(init_module),
  SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot),
});
// What a device or a file system does, although it was opened for reading only; and what puts
// characters into a terminal as if they were typed.
constexpr auto kRefusedRequests = std::to_array<uint32_t>({TIOCSTI, TIOCLINUX, SG_IO, BLKPG, FIFREEZE, FITHAW, FS_IOC_SETFLAGS});
// clang-format on

class CallFilter {
 public:
  CallFilter() : filter_(::seccomp_init(SCMP_ACT_ALLOW), ::seccomp_release) {
    if (filter_ == nullptr) throw std::bad_alloc();
    // Without this, some kernels slow down all of a process that has a filter.
    check(::seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_SSB, 1));
  }
  void refuse(int call) { check(::seccomp_rule_add(filter_.get(), kRefuse, call, 0)); }
  void refuse(int call, scmp_arg_cmp argument) {
    check(::seccomp_rule_add(filter_.get(), kRefuse, call, 1, argument));
  }
  void hide(int call) { check(::seccomp_rule_add(filter_.get(), SCMP_ACT_ERRNO(ENOSYS), call, 0)); }
  bool load() {
    check(::seccomp_load(filter_.get()));
    return good_;
  }

 private:
  static constexpr uint32_t kRefuse = SCMP_ACT_ERRNO(EPERM);
  void check(int result) {
    if (result == -ENOMEM) throw std::bad_alloc();
    if (result != 0) good_ = false;
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter_;
  bool good_ = true;
};

bool confine_calls(bool accepts) {
  CallFilter filter;
  for (const int call : kRefused) filter.refuse(call);
  if (!accepts) {
    filter.refuse(SCMP_SYS(accept));
    filter.refuse(SCMP_SYS(accept4));
  }
  for (const uint32_t request : kRefusedRequests) {
    filter.refuse(SCMP_SYS(ioctl), scmp_arg_cmp{1, SCMP_CMP_MASKED_EQ, 0xffffffff, request});
  }
  filter.refuse(SCMP_SYS(prlimit64), scmp_arg_cmp{0, SCMP_CMP_NE, 0, 0});  // another process's
#ifndef __SANITIZE_ADDRESS__  // which looks for leaks with these
  filter.refuse(SCMP_SYS(ptrace));
  filter.refuse(SCMP_SYS(fork));
  filter.refuse(SCMP_SYS(vfork));
  // Threads are made by clone, whose flags can be seen, where there is no clone3.
#ifdef __s390__
  constexpr unsigned kCloneFlags = 1;  // the stack comes first there
#else
  constexpr unsigned kCloneFlags = 0;
#endif
  filter.refuse(SCMP_SYS(clone), scmp_arg_cmp{kCloneFlags, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0});
  filter.hide(SCMP_SYS(clone3));
#endif
  return filter.load();
}

}  // namespace

std::string enter_sandbox(const AllowedFiles& files) {
  const bool no_new = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  const bool by_landlock = no_new && confine_files(files);
  const bool by_seccomp = no_new && confine_calls(files.accepts);
  return fmt::format("{}; {}",
                     by_landlock ? "no other file can be opened (Landlock)"
                                 : "Landlock cannot be used, so any file can be opened",
                     by_seccomp ? "no program, no network (seccomp)"
                                : "seccomp cannot be used, so anything can be called");
}

}  // namespace snaptool
