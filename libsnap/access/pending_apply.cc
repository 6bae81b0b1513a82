// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/pending_apply.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "libsnap/access/opener.h"
#include "libsnap/diff/apply_journal.h"
#include "libsnap/io/posix_file.h"

namespace snaptool::access {
namespace {

constexpr const char* kMark = "user.snaptool.apply";  // the journal's path

std::string marked(const std::string& path) {
  std::string value(4096, '\0');  // PATH_MAX
  const ssize_t size = ::getxattr(path.c_str(), kMark, value.data(), value.size());
  value.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return value;
}

// A mark may be of an apply that was given up, or have come with a copy.
bool is_of(const std::string& journal, const std::string& path) {
  const auto id = id_of(path);
  auto file = PosixFile::open(journal, kLook);
  if (!id || !file) return false;
  const auto found = ApplyJournal::open(**file);
  return found && *found && (*found)->identity().file.inode == id->inode;
}

}  // namespace

std::string apply_journal_of(const std::string& path) {
  std::error_code failed;
  const bool is_link = std::filesystem::is_symlink(path, failed);
  std::filesystem::path real = path;
  if (is_link) real = std::filesystem::canonical(path, failed);
  return (failed ? path : real.string()) + ".snaptool-journal";
}

std::optional<std::string> pending_apply_of(const std::string& path) {
  std::string beside = apply_journal_of(path);
  if (::access(beside.c_str(), F_OK) == 0) return beside;
  std::string named = marked(path);
  if (named.empty() || !is_of(named, path)) return std::nullopt;
  return named;
}

void mark_pending_apply(const std::string& path, const std::string& journal) {
  std::error_code failed;
  const std::string value = std::filesystem::absolute(journal, failed).string();
  if (!failed) (void)::setxattr(path.c_str(), kMark, value.data(), value.size(), 0);
}

void unmark_pending_apply(const std::string& path) { (void)::removexattr(path.c_str(), kMark); }

}  // namespace snaptool::access
