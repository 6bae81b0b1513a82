// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/pending_apply.h"

#include <fcntl.h>
#include <sys/stat.h>
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

std::optional<ApplyJournal> journal_at(const std::string& path) {
  const auto file = PosixFile::open(path, kLook);
  if (!file) return std::nullopt;
  auto found = ApplyJournal::open(**file);
  return found ? *std::move(found) : std::nullopt;
}

// A mark may be of an apply that was given up, or have come with a copy.
bool is_of(const std::string& journal, const std::string& path) {
  const FileMark mark = mark_of(path);
  ApplyJournal::Identity now;
  now.file = mark.id;
  now.born = mark.born;
  const auto found = journal_at(journal);
  return found && found->identity().same_file(now);
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

std::optional<std::string> marked_journal_of(const std::string& path) {
  std::string named = marked(path);
  if (named.empty() || !journal_at(named)) return std::nullopt;
  return named;
}

FileMark mark_of(const std::string& path) {
  FileMark mark{id_of(path).value_or(FileId{}), 0};
  struct statx about {};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_BTIME, &about) == 0 &&
      (about.stx_mask & STATX_BTIME) != 0) {
    constexpr uint64_t kSecond = 1'000'000'000;
    mark.born = static_cast<uint64_t>(about.stx_btime.tv_sec) * kSecond + about.stx_btime.tv_nsec;
  }
  return mark;
}

void mark_pending_apply(const std::string& path, const std::string& journal) {
  std::error_code failed;
  const std::string value = std::filesystem::absolute(journal, failed).string();
  if (!failed) (void)::setxattr(path.c_str(), kMark, value.data(), value.size(), 0);
}

void unmark_pending_apply(const std::string& path) { (void)::removexattr(path.c_str(), kMark); }

}  // namespace snaptool::access
