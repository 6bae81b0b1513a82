// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/context.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace snaptool::access {

void say_shared(const Notices& notices, const File& file) {
  if (file.shared_bytes() == 0) return;
  notices.say(fmt::format("{} of '{}' are shared, not copied: the file system keeps them once",
                          format_size(file.shared_bytes()), file.name()));
}

Result<std::shared_ptr<File>> Files::open(const std::string& path,
                                          const OpenOptions& options) const {
  SNAP_ASSIGN(auto file, PosixFile::open(path, options));
  return std::shared_ptr<File>(std::move(file));
}

Result<void> Files::remove(const std::string& path) const {
  if (::unlink(path.c_str()) != 0) {
    return errno == ENOENT ? Result<void>()
                           : Error::from_errno(errno, fmt::format("cannot remove '{}'", path));
  }
  return flush_folder_of(path);
}

Result<void> Files::flush_name(const std::string& path) const { return flush_folder_of(path); }

Result<std::shared_ptr<File>> Files::create(const std::string& path) const {
  SNAP_ASSIGN(auto file, PosixFile::create(path));
  return std::shared_ptr<File>(std::move(file));
}

const Files& Files::posix() {
  static const Files files;
  return files;
}

}  // namespace snaptool::access
