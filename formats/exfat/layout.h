// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::exfat {

// The structures of exFAT (formats/exfat/FORMAT.md). Pure: nothing here reads an image.

using Bytes = std::span<const std::byte>;

inline constexpr size_t kBootBytes = 512;
inline constexpr size_t kSlotBytes = 32;
inline constexpr size_t kBootSectors = 12;  // with the one of their sum

// What of a file system does not change while it is read.
struct BootSector {
  uint32_t sector_bytes = 512;
  uint64_t cluster_bytes = 512;
  uint64_t size = 0;        // bytes
  uint64_t fat_start = 0;   // of the one that is active; bytes
  uint64_t fat_bytes = 0;   // of one
  uint64_t heap_start = 0;  // of cluster 2
  uint32_t clusters = 0;
  uint32_t root_cluster = 0;
  uint32_t serial = 0;
  uint32_t fats = 1;
  uint32_t active = 0;  // FAT and bitmap
  bool is_dirty = false;
  bool has_failed = false;  // the medium
};

// Of the first 512 bytes of an image.
bool has_magic(Bytes head);
// Requires: kBootBytes bytes. Errors: kCorruption; kUnsupported.
Result<BootSector> parse_boot_sector(Bytes bytes);
// The sum of the first eleven sectors. Requires: these.
uint32_t boot_sum(Bytes sectors);

// The types of entries; without kInUse they are free.
inline constexpr uint8_t kInUse = 0x80;
inline constexpr uint8_t kSecondary = 0x40;
inline constexpr uint8_t kBenign = 0x20;
inline constexpr uint8_t kBitmap = 0x81;
inline constexpr uint8_t kUpcase = 0x82;
inline constexpr uint8_t kLabel = 0x83;
inline constexpr uint8_t kFile = 0x85;
inline constexpr uint8_t kGuid = 0xa0;
inline constexpr uint8_t kPadding = 0xa1;
inline constexpr uint8_t kStream = 0xc0;
inline constexpr uint8_t kName = 0xc1;

inline constexpr size_t kMostSetBytes = 256 * kSlotBytes;
inline constexpr uint16_t kFolder = 0x10;

// What a set of entries says of a file.
struct EntrySet {
  std::string name;
  uint16_t attributes = 0;
  bool is_deleted = false;
  bool is_contiguous = false;
  bool is_sum_wrong = false;
  bool has_local_times = false;  // some of its times are without a zone
  uint16_t name_hash = 0;
  std::vector<uint16_t> name_units;
  uint32_t first = 0;     // cluster
  uint64_t size = 0;      // bytes
  uint64_t valid = 0;     // bytes: what follows them was never written
  uint64_t more_sum = 0;  // of entries that are not known here
  std::optional<access::FileTime> created;
  std::optional<access::FileTime> modified;
  std::optional<access::FileTime> accessed;

  bool is_folder() const { return (attributes & kFolder) != 0; }
};

uint8_t type_of(Bytes slot);
// Slots that the set has which begins with that one.
size_t set_slots(Bytes slot);
// Requires: set_slots() slots, the first of which is a kFile, in use or not. Errors: kCorruption.
// Where its sum is wrong, that is said.
Result<EntrySet> parse_set(Bytes slots);
// What is at 20 and 24 of a bitmap's, an up-case table's and a stream's entry.
struct Extent {
  uint32_t first = 0;
  uint64_t length = 0;
};
Extent extent_of(Bytes slot);
std::string label_of(Bytes slot);

// Capital letters of all 65536 units. Empty: none is known.
using UpcaseTable = std::vector<uint16_t>;
// Nothing: the table is damaged.
std::optional<UpcaseTable> parse_upcase(Bytes packed);
uint32_t upcase_sum(Bytes packed);
uint16_t name_hash(const std::vector<uint16_t>& units, const UpcaseTable& table);

}  // namespace snaptool::exfat
