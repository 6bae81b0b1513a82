// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::fat {

// The structures of FAT12, FAT16 and FAT32 (formats/fat/FORMAT.md). Pure: nothing here reads an
// image.

using Bytes = std::span<const std::byte>;

inline constexpr size_t kBootBytes = 512;
inline constexpr size_t kSlotBytes = 32;

// What of a file system does not change while it is read.
struct BootSector {
  unsigned bits = 12;  // of an entry of the FAT: 12, 16 or 32
  uint32_t sector_bytes = 512;
  uint64_t cluster_bytes = 512;
  uint64_t fat_start = 0;     // of the first FAT; bytes
  uint64_t fat_bytes = 0;     // of one FAT
  uint32_t fats = 1;          // copies
  uint32_t active_fat = 0;    // the one that is read
  bool is_mirrored = true;    // all FATs are to be the same
  uint64_t root_start = 0;    // of FAT12 and FAT16
  uint64_t root_bytes = 0;    // 0: the root is a chain
  uint32_t root_cluster = 0;  // of FAT32
  uint64_t heap_start = 0;    // of cluster 2
  uint32_t clusters = 0;
  uint32_t said_clusters = 0;  // the volume has, for which its FAT may be too short
  uint64_t size = 0;           // bytes
  uint8_t state = 0;           // bit 0: not unmounted, 1: errors of the medium
  std::optional<uint32_t> serial;
  std::string label;  // as the boot sector has it
};

// Of the first 512 bytes of an image: whether a FAT may be there, sound or not.
bool has_magic(Bytes head);
// Requires: kBootBytes bytes. Errors: kCorruption; kUnsupported.
Result<BootSector> parse_boot_sector(Bytes bytes);

inline constexpr uint8_t kReadOnly = 0x1;
inline constexpr uint8_t kLabel = 0x8;
inline constexpr uint8_t kFolder = 0x10;
inline constexpr uint8_t kLongName = 0xf;

// A slot of a folder that is no part of a long name.
struct Entry {
  std::array<std::byte, 11> name{};
  uint8_t attributes = 0;
  uint8_t cases = 0;  // which parts of the name are in lower case
  bool is_deleted = false;
  uint32_t first = 0;  // cluster
  uint32_t size = 0;   // bytes
  std::optional<access::FileTime> created;
  std::optional<access::FileTime> accessed;
  std::optional<access::FileTime> modified;

  bool is_folder() const { return (attributes & kFolder) != 0; }
  bool is_label() const { return (attributes & kLabel) != 0; }
  bool is_dots() const;
};

// These require kSlotBytes bytes.
bool is_end(Bytes slot);
bool is_deleted(Bytes slot);
bool is_long_part(Bytes slot);
Entry parse_entry(Bytes slot, unsigned bits);
// The name in a slot, UTF-8. Empty: it can be none.
std::string short_name(const Entry& entry);
// The sum of a short name that the parts of its long one have.
uint8_t name_sum(std::span<const std::byte, 11> name);
// A date and a time of FAT as seconds; nothing: there is no such date.
std::optional<access::FileTime> time_of(uint16_t date, uint16_t time, uint8_t hundredths = 0);
// Code page 437, as UTF-8, without spaces at the end.
std::string text_of_437(Bytes bytes, bool lower = false);

}  // namespace snaptool::fat
