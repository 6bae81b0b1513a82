// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/context.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "libsnap/io/folder.h"

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

// The name of the file itself, where a link was named.
static std::string own_name(const std::string& path) {
  std::error_code failed;
  return std::filesystem::is_symlink(path, failed) ? behind_links(path) : path;
}

Result<void> Files::remove(const std::string& path) const {
  const std::string name = own_name(path);
  if (::unlink(name.c_str()) != 0) {
    return errno == ENOENT ? Result<void>()
                           : Error::from_errno(errno, fmt::format("cannot remove '{}'", name));
  }
  return flush_folder_of(name);
}

Result<void> Files::flush_name(const std::string& path) const {
  return flush_folder_of(own_name(path));
}

Result<std::shared_ptr<File>> Files::create(const std::string& path) const {
  SNAP_ASSIGN(auto file, PosixFile::create(own_name(path)));
  return std::shared_ptr<File>(std::move(file));
}

const Files& Files::posix() {
  static const Files files;
  return files;
}

}  // namespace snaptool::access
