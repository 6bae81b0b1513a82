// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/context.h"

namespace snaptool::access {

Result<std::shared_ptr<File>> Files::open(const std::string& path,
                                          const OpenOptions& options) const {
  SNAP_ASSIGN(auto file, PosixFile::open(path, options));
  return std::shared_ptr<File>(std::move(file));
}

Result<std::shared_ptr<File>> Files::create(const std::string& path) const {
  SNAP_ASSIGN(auto file, PosixFile::create(path));
  return std::shared_ptr<File>(std::move(file));
}

const Files& Files::posix() {
  static const Files files;
  return files;
}

}  // namespace snaptool::access
