// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/split_raw.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>

#include "libsnap/base/units.h"
#include "libsnap/io/folder.h"
#include "libsnap/io/part_file.h"

namespace snaptool::access {
namespace {

namespace fs = std::filesystem;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

// How many characters at the end of a name count its part: those behind its last dot, or the last
// two letters where it has none ("xaa"). 0: it is no part.
size_t counter_length(const std::string& name) {
  const size_t dot = name.rfind('.');
  const bool bare = dot == std::string::npos;
  if (bare && name.size() < 3) return 0;
  const std::string counter = bare ? name.substr(name.size() - 2) : name.substr(dot + 1);
  const bool digits = counter.size() >= 3 && std::all_of(counter.begin(), counter.end(), is_digit);
  const bool letters =
      counter.size() >= 2 && std::all_of(counter.begin(), counter.end(), is_letter);
  return letters || (digits && !bare) ? counter.size() : 0;
}

bool is_first(const std::string& path) {
  const size_t length = counter_length(fs::path(path).filename());
  if (length == 0) return false;
  const std::string counter = path.substr(path.size() - length);
  const char last = counter.back();
  return std::all_of(counter.begin(), counter.end() - 1,
                     [](char c) { return c == '0' || c == 'a'; }) &&
         (last == '0' || last == '1' || last == 'a');
}

// The name of the part behind this one; empty behind the last that can be counted.
std::string next_name(std::string path, size_t length) {
  for (size_t i = path.size(); i > path.size() - length; --i) {
    char& c = path[i - 1];
    if (c != '9' && c != 'z') {
      ++c;
      return path;
    }
    c = c == '9' ? '0' : 'a';
  }
  return {};
}

// A part that is there although `missing`, which comes before it, is not; empty if none.
Result<std::string> later_part(const std::string& missing, size_t length) {
  const fs::path path(missing);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const std::string name = path.filename();
  SNAP_ASSIGN(const auto names, names_in(folder));
  std::string found;
  for (const std::string& other : names) {
    if (other.size() == name.size() && counter_length(other) == length &&
        is_digit(other.back()) == is_digit(name.back()) && other > name &&
        other.compare(0, other.size() - length, name, 0, name.size() - length) == 0) {
      found = other;
    }
  }
  return found;
}

Error not_a_part(const std::string& name, std::string_view why) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("'{}' {}: the parts of an image are plain files of one owner", name, why)};
}

// What is there under a name that counts as a part. `first` is what the first part is.
Result<SplitPart> look_at_part(const std::string& name, const struct stat& st,
                               const struct stat& first) {
  if (S_ISLNK(st.st_mode)) return not_a_part(name, "is a symbolic link");
  if (!S_ISREG(st.st_mode)) return not_a_part(name, "is not a plain file");
  if (st.st_uid != first.st_uid) {
    return not_a_part(name, fmt::format("belongs to user {}, and the first part to user {}",
                                        st.st_uid, first.st_uid));
  }
  return SplitPart{name, {st.st_dev, st.st_ino}};
}

// The number at the end of a name, without zeros in front, and where it begins.
struct Counter {
  size_t at = 0;
  uint64_t number = 0;
};
std::optional<Counter> counter_of(const std::string& path) {
  constexpr size_t kMostDigits = 4;
  size_t at = path.size();
  while (at > 0 && is_digit(path[at - 1])) --at;
  const size_t length = path.size() - at;
  if (length == 0 || length > kMostDigits || (length > 1 && path[at] == '0')) return std::nullopt;
  return Counter{at, std::stoull(path.substr(at))};
}

// Of the files that are called so, with a number at the end.
Result<std::set<uint64_t>> numbers_of(const std::string& stem) {
  const fs::path path(stem + '0');
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const std::string name = path.filename();
  SNAP_ASSIGN(const auto names, names_in(folder));
  std::set<uint64_t> numbers;
  for (const std::string& other : names) {
    const auto counter = counter_of(other);
    const bool same = counter && counter->at == name.size() - 1 &&
                      other.compare(0, counter->at, name, 0, counter->at) == 0;
    if (same) numbers.insert(counter->number);
  }
  return numbers;
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

}  // namespace

std::string second_part_of(const std::string& path) {
  if (!is_first(path)) return {};
  std::string second = next_name(path, counter_length(fs::path(path).filename()));
  return is_there(second) ? second : std::string();
}

Result<std::vector<SplitPart>> find_split_raw(const std::string& first) {
  if (!is_first(first)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not named like the first part of a split image: that ends in "
                             ".001, .000 or .aa",
                             first));
  }
  const size_t length = counter_length(fs::path(first).filename());
  std::error_code ignored;
  const std::string zeroth = first.substr(0, first.size() - 1) + '0';
  if (first.back() == '1' && fs::exists(zeroth, ignored)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' exists, too: the split image begins with it", zeroth));
  }
  std::vector<SplitPart> parts;
  std::string name = first;
  struct stat st {};
  struct stat of_first {};
  for (; !name.empty() && ::lstat(name.c_str(), &st) == 0; name = next_name(name, length)) {
    if (parts.empty()) of_first = st;
    SNAP_ASSIGN(SplitPart part, look_at_part(name, st, of_first));
    parts.push_back(std::move(part));
  }
  const int err = name.empty() ? 0 : errno;
  if (!name.empty() && (err != ENOENT || parts.empty())) {
    return Error::from_errno(err, fmt::format("cannot open '{}'", name));
  }
  if (name.empty()) return parts;
  SNAP_ASSIGN(const std::string later, later_part(name, length));
  if (!later.empty()) {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("'{}' is missing, and '{}' is there: the image has a gap", name, later));
  }
  return parts;
}

std::string other_counted_part_of(const std::string& path) {
  const auto counter = counter_of(path);
  if (!counter) return {};
  const std::string stem = path.substr(0, counter->at);
  const auto listed = numbers_of(stem);
  // In the sandbox, no folder can be listed that was not asked for.
  const std::set<uint64_t> numbers =
      listed ? *listed : std::set{counter->number - 1, counter->number + 1, uint64_t{0}};
  for (const uint64_t number : numbers) {
    std::string other = fmt::format("{}{}", stem, number);
    if (number != counter->number && is_there(other)) return other;
  }
  return {};
}

Result<std::vector<SplitPart>> find_counted_parts(const std::string& first) {
  const auto counter = counter_of(first);
  if (!counter || counter->number > 1) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not named like the first part of an image: that ends in 0, or in 1",
                    first));
  }
  const std::string stem = first.substr(0, counter->at);
  SNAP_ASSIGN(const std::set<uint64_t> numbers, numbers_of(stem));
  if (!numbers.empty() && *numbers.begin() < counter->number) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}{}' exists, too: the image begins with it", stem, *numbers.begin()));
  }
  std::vector<SplitPart> parts;
  struct stat of_first {};
  uint64_t next = counter->number;
  for (const uint64_t number : numbers) {
    const std::string name = fmt::format("{}{}", stem, number);
    if (number != next) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}{}' is missing, and '{}' is there: the image has a gap", stem,
                               next, name));
    }
    ++next;
    struct stat st {};
    if (::lstat(name.c_str(), &st) != 0) {
      return Error::from_errno(errno, fmt::format("cannot open '{}'", name));
    }
    if (parts.empty()) of_first = st;
    SNAP_ASSIGN(SplitPart part, look_at_part(name, st, of_first));
    parts.push_back(std::move(part));
  }
  if (parts.size() < 2) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is the only part that is there", first));
  }
  return parts;
}

std::optional<std::string> split_part_name(const std::string& first, unsigned number) {
  if (!is_first(first)) return std::nullopt;
  const size_t length = counter_length(fs::path(first).filename());
  std::string name = first;
  for (unsigned i = 1; i < number && !name.empty(); ++i) name = next_name(name, length);
  return name.empty() ? std::nullopt : std::optional(name);
}

Result<std::shared_ptr<File>> join_split_raw(std::vector<std::shared_ptr<File>> parts) {
  const std::string name = parts.front()->name();
  const uint64_t size = parts.front()->size();
  uint64_t left = kMaxFileSize;
  std::vector<PartSegment> segments;
  for (size_t i = 0; i < parts.size(); ++i) {
    const uint64_t length = parts[i]->size();
    const bool last = i + 1 == parts.size();
    if (length > size || (length < size && !last)) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' has {} bytes, and the part before it {}: {}", parts[i]->name(),
                               length, size,
                               length > size ? "the parts do not belong together"
                                             : "only the last part may be shorter"));
    }
    if (length > left) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' and the parts before it are more than a file can have",
                               parts[i]->name()));
    }
    left -= length;
    segments.push_back({length, {{std::move(parts[i]), 0}}, 0});
  }
  return std::make_shared<PartFile>(name, std::move(segments));
}

}  // namespace snaptool::access
