// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "libsnap/io/storage.h"

namespace snaptool {
namespace {

// The file behind symbolic links, or the path itself when there is none yet.
std::string resolve_links(const std::string& path) {
  std::error_code ec;
  const auto resolved = std::filesystem::weakly_canonical(path, ec);
  return ec ? path : resolved.string();
}

}  // namespace

// Whether what is at the path can become the output. Opens a device: then there is nothing more to
// do, and it returns true.
Result<bool> OutputFile::check_path(const std::string& path, uint64_t size,
                                    const std::vector<const File*>& inputs) {
  struct stat st {};
  if (::stat(path_.c_str(), &st) != 0) return false;
  const FileId id = S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
  // A loop device or partition may be an input under another name.
  const auto there = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)
                         ? PosixFile::open(path_, {Access::kRead, true})
                         : Error(ErrorCode::kUnsupported, "neither");
  for (const File* input : inputs) {
    if (input->id() == id || (there && share_storage(**there, *input))) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("'{}' is an input: it cannot be the output too; name another file", path));
    }
  }
  if (!replace_) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' exists already (--force replaces it)", path));
  }
  if (S_ISREG(st.st_mode)) return false;
  if (!S_ISBLK(st.st_mode)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a file or block device", path));
  }
  SNAP_ASSIGN(file_, PosixFile::open(path_, {.access = Access::kReadWrite}));
  if (file_->size() < size) {
    return Error(ErrorCode::kNoSpace,
                 fmt::format("'{}' has {} bytes, but {} are needed", path, file_->size(), size));
  }
  return true;
}

Result<std::unique_ptr<OutputFile>> OutputFile::create(const std::string& path, uint64_t size,
                                                       const std::vector<const File*>& inputs,
                                                       bool replace) {
  std::unique_ptr<OutputFile> output(new OutputFile);
  output->path_ = resolve_links(path);
  output->replace_ = replace;
  SNAP_ASSIGN(const bool is_device, output->check_path(path, size, inputs));
  if (is_device) return output;
  output->temporary_ = fmt::format("{}.{}.partial", output->path_, ::getpid());
  const int fd =
      ::open(output->temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) {
    const int err = errno;
    output->temporary_.clear();
    return Error::from_errno(err, fmt::format("cannot create '{}'", path));
  }
  SNAP_ASSIGN(output->file_, PosixFile::adopt(fd, path, Access::kReadWrite));
  // A file that is cut to nothing is written out by ext4 when it is closed (auto_da_alloc).
  if (size > 0) SNAP_TRY(output->file_->resize(size));
  return output;
}

Result<std::unique_ptr<OutputFile>> OutputFile::resume(const std::string& path, uint64_t size,
                                                       const std::vector<const File*>& inputs,
                                                       bool replace) {
  std::unique_ptr<OutputFile> output(new OutputFile);
  output->path_ = resolve_links(path);
  output->replace_ = replace;
  output->keep_ = true;
  SNAP_ASSIGN(const bool is_device, output->check_path(path, size, inputs));
  if (is_device) return output;
  output->temporary_ = output->path_ + ".partial";
  const std::string& name = output->temporary_;
  struct stat st {};
  const bool there = ::lstat(name.c_str(), &st) == 0;
  if (there && !S_ISREG(st.st_mode)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a file: remove it, or name another output", name));
  }
  for (const File* input : inputs) {
    if (there && input->id() == FileId{st.st_dev, st.st_ino}) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is an input: name another output than '{}'", name, path));
    }
  }
  // One without a byte is what a crash left at once.
  output->resumed_ = there && st.st_size > 0;
  if (!there) {
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return Error::from_errno(errno, fmt::format("cannot create '{}'", path));
    ::close(fd);
  }
  SNAP_ASSIGN(output->file_, PosixFile::open(name, {.access = Access::kReadWrite}));
  if (output->resumed_ && output->file_->size() != size && !replace) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is there and has {} bytes, not {}: it is of something else "
                             "(--force writes over it)",
                             name, output->file_->size(), size));
  }
  if (output->file_->size() != size) SNAP_TRY(output->file_->resize(size));
  return output;
}

OutputFile::~OutputFile() {
  if (!committed_ && !keep_ && !temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<bool> OutputFile::clone(const File& source, uint64_t length) {
  const auto* const posix = dynamic_cast<const PosixFile*>(&source);
  if (posix == nullptr || posix->is_block_device() || temporary_.empty()) return false;
  if (::ioctl(file_->fd(), FICLONE, posix->fd()) != 0) return false;
  const uint64_t size = file_->size();
  SNAP_TRY(file_->resize(length));  // cuts off what follows, so that it comes back as zeros
  SNAP_TRY(file_->resize(size));
  return true;
}

Result<void> OutputFile::commit(bool durable) {
  if (durable) SNAP_TRY(file_->flush());
  if (temporary_.empty()) {
    committed_ = true;
    return {};
  }
  int err = 0;
  if (replace_) {
    err = ::rename(temporary_.c_str(), path_.c_str()) == 0 ? 0 : errno;
  } else {
    err = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0
              ? 0
              : errno;
    if (err == EINVAL ||
        err == ENOSYS) {  // not offered by this file system: a link never replaces either
      err = ::link(temporary_.c_str(), path_.c_str()) == 0 ? 0 : errno;
      if (err == 0) ::unlink(temporary_.c_str());
    }
    if (err == EEXIST) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' was made by somebody else meanwhile", path_));
    }
  }
  if (err != 0) return Error::from_errno(err, fmt::format("cannot name the new file '{}'", path_));
  committed_ = true;
  return durable ? flush_folder_of(path_) : Result<void>();
}

}  // namespace snaptool
