// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>

#include "libsnap/io/folder.h"

namespace snaptool {
namespace {

// QEMU's permission bytes: kUses + p is read-locked by whoever uses permission p, kRefuses + p by
// whoever does not let others use it.
constexpr off_t kUses = 100;
constexpr off_t kRefuses = 200;
constexpr off_t kConsistentRead = 0;
constexpr off_t kWrite = 1;
constexpr off_t kResize = 3;

// A lock description for fcntl.
struct flock range(short type, off_t start, off_t length) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

bool no_locks_here(int err) {
  return err == EINVAL || err == ENOLCK || err == EOPNOTSUPP || err == ENOSYS;
}

Error busy(const std::string& name, std::string_view why) {
  return Error(ErrorCode::kBusy, fmt::format("'{}' {}", name, why));
}

}  // namespace

Result<void> lock_for_reading(int fd, const std::string& name) {
  for (const off_t byte : {kUses + kConsistentRead, kRefuses + kWrite, kRefuses + kResize}) {
    struct flock lock = range(F_RDLCK, byte, 1);
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) continue;
    if (errno == EAGAIN || errno == EACCES) {
      return busy(name,
                  "is being written by another program (it holds a lock): stop that first "
                  "('lsof FILE' shows it), or read it all the same with -U");
    }
    if (no_locks_here(errno)) return {};
    return Error::from_errno(errno, fmt::format("lock '{}'", name));
  }
  for (const off_t byte : {kUses + kWrite, kUses + kResize, kRefuses + kConsistentRead}) {
    struct flock lock = range(F_WRLCK, byte, 1);
    if (::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
      return busy(name,
                  "is open for writing in another program, QEMU perhaps: stop that first ('lsof "
                  "FILE' shows it), or read it all the same with -U");
    }
  }
  return {};
}

Result<void> lock_for_writing(int fd, const std::string& name) {
  struct flock lock = range(F_WRLCK, 0, 0);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return busy(name,
                "is in use by another program (it holds a lock), nothing was written: stop that "
                "first, a virtual machine perhaps ('lsof FILE' shows it)");
  }
  return Error::from_errno(errno, fmt::format("lock '{}' for writing", name));
}

Result<void> check_not_held(int fd, const std::string& name) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Error::from_errno(errno, fmt::format("stat '{}'", name));
  if (S_ISBLK(st.st_mode)) {
    const auto holders =
        names_in(fmt::format("/sys/dev/block/{}:{}/holders", major(st.st_rdev), minor(st.st_rdev)));
    if (!holders || holders->empty()) return {};
    return busy(name, fmt::format("is held by {0}: remove that first ('lsblk /dev/{0}' shows it)",
                                  holders->front()));
  }
  for (const std::string& device_name :
       names_in("/sys/block").value_or(std::vector<std::string>())) {
    if (device_name.rfind("loop", 0) != 0) continue;
    const auto backing = first_line_of(fmt::format("/sys/block/{}/loop/backing_file", device_name));
    struct stat other {};
    if (!backing || ::stat(backing->c_str(), &other) != 0) continue;
    if (other.st_dev == st.st_dev && other.st_ino == st.st_ino) {
      return busy(name, fmt::format("is attached to /dev/{} (losetup -d /dev/{} frees it)",
                                    device_name, device_name));
    }
  }
  return {};
}

}  // namespace snaptool
