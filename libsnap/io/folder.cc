// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <new>

namespace snaptool {
namespace {

std::string with_case(std::string text, int (*convert)(int)) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [&](unsigned char c) { return static_cast<char>(convert(c)); });
  return text;
}

// The path of a file whose name differs from `path` in case only; empty: none was found. Tries
// likely ones: a folder cannot be listed from within the sandbox.
std::string other_case(const std::string& path) {
  const size_t slash = path.rfind('/') + 1;
  const size_t dot = std::max(std::min(path.rfind('.'), path.size()), slash);
  const std::string folder = path.substr(0, slash);
  const std::string stem = path.substr(slash, dot - slash);
  const std::string ending = path.substr(dot);
  for (const auto& one : {stem, with_case(stem, ::tolower), with_case(stem, ::toupper)}) {
    for (const auto& two : {ending, with_case(ending, ::tolower), with_case(ending, ::toupper)}) {
      struct stat st {};
      std::string name = folder + one + two;
      if (::stat(name.c_str(), &st) == 0) return name;
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> names_in(const std::string& folder) {
  struct Close {
    void operator()(DIR* open) const { ::closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(::opendir(folder.c_str()));
  std::vector<std::string> names;
  if (!open && errno == ENOMEM) throw std::bad_alloc();
  errno = open ? 0 : errno;
  while (open) {
    const dirent* const entry = ::readdir(open.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return Error::from_errno(errno, fmt::format("list '{}'", folder));
  return names;
}

std::optional<std::string> first_line_of(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  std::array<char, 8192> text{};
  const ssize_t size = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (size < 0) return std::nullopt;
  const std::string_view all(text.data(), static_cast<size_t>(size));
  return std::string(all.substr(0, all.find('\n')));
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? std::string(".") : folder.string();
}

std::string behind_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // as in the kernel
  std::error_code failed;
  std::filesystem::path real = path;
  for (int i = 0; i < kMostLinks; ++i) {
    const auto target = std::filesystem::read_symlink(real, failed);
    if (failed) break;
    real = real.parent_path() / target;  // an absolute target stands alone
  }
  const auto resolved = std::filesystem::weakly_canonical(real, failed);
  return failed ? real.string() : resolved.string();
}

std::string note_of_missing(const std::string& path) {
  const std::string name = other_case(path);
  return name.empty() ? "is the name right?" : fmt::format("there is '{}'", name);
}

}  // namespace snaptool
