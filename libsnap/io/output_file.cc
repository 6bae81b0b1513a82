// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "libsnap/io/folder.h"
#include "libsnap/io/storage.h"

namespace snaptool {
namespace {

Error refuse(std::string why) { return {ErrorCode::kInvalidArgument, std::move(why)}; }

// The file behind symbolic links, which need not be there yet.
Result<std::string> resolve_links(const std::string& path) {
  struct stat st {};
  // Links in a circle, and those of others in /tmp that the kernel does not follow.
  if (::stat(path.c_str(), &st) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, fmt::format("cannot create '{}'", path));
  }
  return behind_links(path);
}

// What a new file is not to allow, as the process has it. umask(2) would have to change it to tell,
// for all threads. Where /proc does not say, nobody but the owner gets anything.
mode_t umask_of_process() {
  constexpr mode_t kOwnerOnly = 077;
  constexpr std::string_view kField = "\nUmask:";
  std::array<char, 512> text{};  // it is the second line
  const int fd = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return kOwnerOnly;
  const ssize_t count = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  const std::string_view status(text.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
  const size_t field = status.find(kField);
  if (field == std::string_view::npos) return kOwnerOnly;
  return static_cast<mode_t>(std::strtoul(status.data() + field + kField.size(), nullptr, 8));
}

// A file without a name that can be given one; -1: the file system has none such.
int open_unnamed(const std::string& path) {
  if (::access("/proc/self/fd", X_OK) != 0) return -1;  // it is named by that
  return ::open(folder_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

// A name beside the path that nobody has. The file that it names is there, for its owner only.
Result<int> open_temporary(const std::string& path, std::string& name) {
  constexpr std::string_view kEnding = ".partial";
  name = fmt::format("{}.XXXXXX{}", path, kEnding);
  const int fd = ::mkostemps(name.data(), kEnding.size(), O_CLOEXEC);
  if (fd >= 0) return fd;
  const int err = errno;
  name.clear();
  return Error::from_errno(err, fmt::format("cannot create '{}'", path));
}

void copy_attributes(int from, int to) {
  std::vector<char> names(64 * kKiB);
  const ssize_t length = ::flistxattr(from, names.data(), names.size());
  std::vector<char> value(64 * kKiB);
  for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(std::strlen(&names[at])) + 1) {
    const ssize_t size = ::fgetxattr(from, &names[at], value.data(), value.size());
    // What may not be set, or cannot be told here, is left out.
    if (size >= 0) {
      (void)::fsetxattr(to, &names[at], value.data(), static_cast<size_t>(size), 0);
    }
  }
}

}  // namespace

// Whether what is at the path can become the output. Opens what would be replaced, or the device,
// which then is the output.
Result<std::unique_ptr<OutputFile>> OutputFile::look(const std::string& path, uint64_t size,
                                                     const std::vector<const File*>& inputs,
                                                     bool replace) {
  std::unique_ptr<OutputFile> output(new OutputFile);
  SNAP_ASSIGN(output->path_, resolve_links(path));
  output->given_ = path;
  output->replace_ = replace;
  for (const File* input : inputs) output->permissions_ &= input->permissions();
  struct stat st {};
  if (::stat(output->path_.c_str(), &st) != 0) return output;
  const FileId id = S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
  // A loop device or partition may be an input under another name.
  const bool is_storage = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
  const auto there = is_storage ? PosixFile::open(output->path_, {Access::kRead, true})
                                : Error(ErrorCode::kUnsupported, "neither");
  for (const File* input : inputs) {
    if (input->id() == id || (there && share_storage(**there, *input))) {
      return refuse(
          fmt::format("'{}' is an input: it cannot be the output too; name another file", path));
    }
  }
  if (!is_storage) return refuse(fmt::format("'{}' is not a file or block device", path));
  if (!replace) {
    return refuse(fmt::format("'{}' exists already", path)).with_remedy(Remedy::kReplaceFile);
  }
  SNAP_ASSIGN(auto file, PosixFile::open(output->path_, {.access = Access::kReadWrite}));
  if (S_ISREG(st.st_mode)) {
    output->replaced_ = std::move(file);
    return output;
  }
  if (file->size() < size) {
    return Error(ErrorCode::kNoSpace,
                 fmt::format("'{}' has {} bytes, but {} are needed", path, file->size(), size));
  }
  output->file_ = std::move(file);
  output->is_device_ = true;
  return output;
}

Result<void> OutputFile::make_file() {
  int fd = open_unnamed(path_);
  if (fd < 0) {
    SNAP_ASSIGN(fd, open_temporary(path_, temporary_));
  }
  SNAP_ASSIGN(file_, PosixFile::adopt(fd, given_, Access::kReadWrite));
  return {};
}

Result<std::unique_ptr<OutputFile>> OutputFile::create(const std::string& path, uint64_t size,
                                                       const std::vector<const File*>& inputs,
                                                       bool replace) {
  SNAP_ASSIGN(auto output, look(path, size, inputs, replace));
  if (output->is_device_) return output;
  SNAP_TRY(output->make_file());
  // A file that is cut to nothing is written out by ext4 when it is closed (auto_da_alloc).
  if (size > 0) SNAP_TRY(output->file_->resize(size));
  return output;
}

Result<void> OutputFile::open_partial(const std::vector<const File*>& inputs) {
  const std::string& name = temporary_;
  const int made = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (made < 0 && errno != EEXIST) {
    return Error::from_errno(errno, fmt::format("cannot create '{}'", given_));
  }
  if (made >= 0) ::close(made);
  struct stat st {};
  if (::lstat(name.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return refuse(fmt::format("'{}' is not a file: remove it, or name another output", name));
  }
  for (const File* input : inputs) {
    if (input->id() == FileId{st.st_dev, st.st_ino}) {
      return refuse(fmt::format("'{}' is an input: name another output than '{}'", name, given_));
    }
  }
  SNAP_ASSIGN(file_, PosixFile::open(name, {.access = Access::kReadWrite, .no_follow = true}));
  // What was opened counts, not what had the name before.
  if (::fstat(file_->fd(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
      st.st_uid != ::geteuid() || (st.st_mode & 022) != 0) {
    return refuse(fmt::format(
        "'{}' has several names, belongs to somebody else, or others may write to it: it is not "
        "continued; remove it, or name another output",
        name));
  }
  return {};
}

Result<std::unique_ptr<OutputFile>> OutputFile::resume(const std::string& path, uint64_t size,
                                                       const std::vector<const File*>& inputs,
                                                       bool replace) {
  SNAP_ASSIGN(auto output, look(path, size, inputs, replace));
  if (output->is_device_) return output;
  output->keep_ = true;
  output->temporary_ = output->path_ + ".partial";
  SNAP_TRY(output->open_partial(inputs));
  // One without a byte is what a crash left at once.
  const uint64_t left = output->file_->size();
  output->resumed_ = left > 0;
  if (output->resumed_) {
    // What is there may be in the page cache only.
    SNAP_TRY(output->file_->flush());
    (void)output->file_->forget_cache(0, left);
  }
  if (output->resumed_ && left != size && !replace) {
    return refuse(fmt::format("'{}' exists and has {} bytes, not {}: it belongs to something else",
                              output->temporary_, left, size))
        .with_remedy(Remedy::kOverwrite);
  }
  if (left != size) {
    auto sized = output->file_->resize(size);
    output->keep_ = sized.has_value() || output->resumed_;
    SNAP_TRY(sized);
  }
  return output;
}

OutputFile::~OutputFile() {
  if (!committed_ && !keep_ && !temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<bool> OutputFile::clone(const File& source, uint64_t length) {
  const auto* const posix = dynamic_cast<const PosixFile*>(&source);
  if (posix == nullptr || posix->kind() != FileKind::kRegular || is_device_) return false;
  if (::ioctl(file_->fd(), FICLONE, posix->fd()) != 0) return false;
  const uint64_t size = file_->size();
  SNAP_TRY(file_->resize(length));  // cuts off what follows, so that it comes back as zeros
  SNAP_TRY(file_->resize(size));
  return true;
}

void OutputFile::set_permissions() {
  if (replaced_ == nullptr) {
    (void)::fchmod(file_->fd(), (permissions_ | 0600U) & 0666U & ~umask_of_process());
    return;
  }
  struct stat st {};
  if (::fstat(replaced_->fd(), &st) != 0) return;
  // Who cannot give it to its owner leaves it to nobody but himself and those who could before.
  const bool owned = ::fchown(file_->fd(), st.st_uid, st.st_gid) == 0;
  copy_attributes(replaced_->fd(), file_->fd());
  (void)::fchmod(file_->fd(), owned ? st.st_mode & 07777U : replaced_->permissions() | 0600U);
}

// Gives the file its name. Errors: kInvalidArgument when somebody else has it; kIo.
Result<void> OutputFile::name_it() {
  const std::string unnamed = fmt::format("/proc/self/fd/{}", file_->fd());
  const std::string& from = temporary_.empty() ? unnamed : temporary_;
  int err = 0;
  if (replace_) {
    std::string name = temporary_;
    if (temporary_.empty()) {
      // There is no call that links over a name.
      SNAP_ASSIGN(const int fd, open_temporary(path_, name));
      ::close(fd);
      ::unlink(name.c_str());
      if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
        return Error::from_errno(errno, fmt::format("cannot name the new file '{}'", path_));
      }
    }
    err = ::rename(name.c_str(), path_.c_str()) == 0 ? 0 : errno;
    if (err != 0 && temporary_.empty()) ::unlink(name.c_str());
  } else if (temporary_.empty()) {
    err = ::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0
                                                                                            : errno;
  } else {
    const char* const name = temporary_.c_str();
    err = ::renameat2(AT_FDCWD, name, AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
    if (err == EINVAL || err == ENOSYS) {  // not offered here: a link never replaces either
      err = ::link(name, path_.c_str()) == 0 ? 0 : errno;
      if (err == 0) ::unlink(name);
    }
  }
  if (err == 0) return {};
  if (err == EEXIST) {
    return refuse(fmt::format("'{}' was created by somebody else in the meantime", path_));
  }
  return Error::from_errno(err, fmt::format("cannot name the new file '{}'", path_));
}

Result<void> OutputFile::commit(bool durable) {
  if (!is_device_) set_permissions();
  if (durable) SNAP_TRY(file_->flush());
  if (is_device_) {
    committed_ = true;
    return {};
  }
  SNAP_TRY(name_it());
  committed_ = true;
  if (!durable) return {};
  auto flushed = flush_folder_of(path_);
  if (flushed) return {};
  return std::move(flushed).error().with_context(
      fmt::format("'{}' is complete, but a power cut may still take its name away", given_));
}

}  // namespace snaptool
