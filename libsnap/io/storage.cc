// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/storage.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>

#include "libsnap/io/folder.h"

namespace snaptool {
namespace {

constexpr int kDeepest = 16;  // loop devices over files on loop devices, and so on

std::optional<uint64_t> number_in(const std::filesystem::path& path) {
  const auto line = first_line_of(path);
  uint64_t number = 0;
  if (!line || std::sscanf(line->c_str(), "%" SCNu64, &number) != 1) return std::nullopt;
  return number;
}

std::optional<FileId> file_named_in(const std::filesystem::path& path) {
  const auto name = first_line_of(path);
  struct stat st {};
  if (!name || ::stat(name->c_str(), &st) != 0) return std::nullopt;
  return S_ISBLK(st.st_mode) ? FileId{0, st.st_rdev} : FileId{st.st_dev, st.st_ino};
}

std::optional<FileId> device_named_in(const std::filesystem::path& path) {
  const auto line = first_line_of(path);
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (!line || std::sscanf(line->c_str(), "%u:%u", &major_number, &minor_number) != 2) {
    return std::nullopt;
  }
  return FileId{0, makedev(major_number, minor_number)};
}

}  // namespace

Storage storage_of(const Storage& of) {
  Storage storage = of;
  for (int depth = 0; depth < kDeepest && storage.id.device == 0; ++depth) {
    // The link is resolved, so that ".." is the disk of a partition.
    std::error_code ec;
    const auto device = std::filesystem::canonical(
        fmt::format("/sys/dev/block/{}:{}", major(storage.id.inode), minor(storage.id.inode)), ec);
    if (ec) break;
    if (const auto file = file_named_in(device / "loop" / "backing_file")) {
      storage.offset += number_in(device / "loop" / "offset").value_or(0);
      storage.id = *file;
    } else if (const auto start = number_in(device / "start")) {
      const auto disk = device_named_in(device / ".." / "dev");
      if (!disk) break;
      storage.offset += *start * kSectorSize;
      storage.id = *disk;
    } else {
      break;
    }
  }
  return storage;
}

bool overlap(const Storage& a, const Storage& b) {
  return a.id == b.id && a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

bool on_one_file_system(const File& a, const File& b) {
  const auto others = b.storages();
  for (const Storage& one : a.storages()) {
    // A block device has none of its own.
    if (one.id.device == 0) continue;
    if (std::any_of(others.begin(), others.end(),
                    [&](const Storage& other) { return other.id.device == one.id.device; })) {
      return true;
    }
  }
  return false;
}

bool share_storage(const File& a, const File& b) {
  if (a.id() && a.id() == b.id()) return true;
  const auto in_the_end = [](const File& file) {
    std::vector<Storage> storages = file.storages();
    for (Storage& storage : storages) storage = storage_of(storage);
    return storages;
  };
  const std::vector<Storage> others = in_the_end(b);
  for (const Storage& one : in_the_end(a)) {
    if (std::any_of(others.begin(), others.end(),
                    [&](const Storage& other) { return overlap(one, other); })) {
      return true;
    }
  }
  return false;
}

}  // namespace snaptool
