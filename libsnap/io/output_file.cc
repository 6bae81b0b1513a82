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

Result<std::unique_ptr<OutputFile>> OutputFile::create(const std::string& path, uint64_t size,
                                                       const std::vector<const File*>& inputs,
                                                       bool replace) {
  std::unique_ptr<OutputFile> output(new OutputFile);
  output->path_ = resolve_links(path);
  output->replace_ = replace;
  struct stat st {};
  const bool exists = ::stat(output->path_.c_str(), &st) == 0;
  if (exists) {
    const FileId id = S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
    // A loop device or partition may be an input under another name.
    const auto there = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)
                           ? PosixFile::open(output->path_, {Access::kRead, true})
                           : Error(ErrorCode::kUnsupported, "neither");
    for (const File* input : inputs) {
      if (input->id() == id || (there && share_storage(**there, *input))) {
        return Error(
            ErrorCode::kInvalidArgument,
            fmt::format("'{}' is an input: it cannot be the output too; name another file", path));
      }
    }
    if (!replace) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' exists already (--force replaces it)", path));
    }
    if (S_ISBLK(st.st_mode)) {
      SNAP_ASSIGN(output->file_, PosixFile::open(output->path_, {.access = Access::kReadWrite}));
      if (output->file_->size() < size) {
        return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes, but {} are needed", path,
                                                      output->file_->size(), size));
      }
      return output;
    }
    if (!S_ISREG(st.st_mode)) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is not a file or block device", path));
    }
  }
  output->temporary_ = fmt::format("{}.{}.partial", output->path_, ::getpid());
  const int fd =
      ::open(output->temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) {
    const int err = errno;
    output->temporary_.clear();
    return Error::from_errno(err, fmt::format("cannot create '{}'", path));
  }
  SNAP_ASSIGN(output->file_, PosixFile::adopt(fd, path, Access::kReadWrite));
  SNAP_TRY(output->file_->resize(size));
  return output;
}

OutputFile::~OutputFile() {
  if (!committed_ && !temporary_.empty()) ::unlink(temporary_.c_str());
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

Result<void> OutputFile::commit() {
  SNAP_TRY(file_->flush());
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
  return flush_folder_of(path_);
}

}  // namespace snaptool
