// SPDX-License-Identifier: Apache-2.0
#include "formats/fat/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "formats/common/utf16.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::fat {
namespace {

constexpr uint32_t kLeast16 = 4085;  // clusters
constexpr uint32_t kMost16 = 65524;
constexpr uint32_t kMost32 = 0xffffff5;
constexpr auto kDeletedMark = std::byte{0xe5};
constexpr auto kFirstIsE5 = std::byte{0x05};
constexpr uint8_t kLowerBase = 0x8;
constexpr uint8_t kLowerExtension = 0x10;

// What 0x80 to 0xff are in code page 437.
constexpr std::array<uint16_t, 128> kPage437 = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
    0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557,
    0x255d, 0x255c, 0x255b, 0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559,
    0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
    0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};
// Capital letters of it, each before its small one.
constexpr std::array<uint16_t, 20> kPairs = {0xc7, 0xe7, 0xc4,  0xe4,  0xc5,  0xe5, 0xc9,
                                             0xe9, 0xc6, 0xe6,  0xd6,  0xf6,  0xdc, 0xfc,
                                             0xd1, 0xf1, 0x3a3, 0x3c3, 0x3a6, 0x3c6};

uint16_t field16(Bytes bytes, size_t at) { return load_le<uint16_t>(bytes.data() + at); }
uint32_t field32(Bytes bytes, size_t at) { return load_le<uint32_t>(bytes.data() + at); }
uint8_t field8(Bytes bytes, size_t at) { return std::to_integer<uint8_t>(bytes[at]); }
std::string_view text_at(Bytes bytes, size_t at, size_t length) {
  return {reinterpret_cast<const char*>(bytes.data() + at), length};
}

Error broken_boot(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

bool has_plausible_sizes(Bytes head) {
  const uint32_t sector = field16(head, 0xb);
  const uint8_t media = field8(head, 0x15);
  return std::has_single_bit(sector) && sector >= 512 && sector <= 4096 &&
         std::has_single_bit(field8(head, 0xd)) && field16(head, 0xe) != 0 &&
         field8(head, 0x10) >= 1 && field8(head, 0x10) <= 4 && (media == 0xf0 || media >= 0xf8) &&
         (field16(head, 0x13) != 0 || field32(head, 0x20) != 0) &&
         (field16(head, 0x16) != 0 || field32(head, 0x24) != 0);
}

Result<void> read_sizes(BootSector& boot, Bytes bytes) {
  boot.sector_bytes = field16(bytes, 0xb);
  const uint32_t per_cluster = field8(bytes, 0xd);
  const uint32_t reserved = field16(bytes, 0xe);
  boot.fats = field8(bytes, 0x10);
  if (!std::has_single_bit(boot.sector_bytes) || boot.sector_bytes < 512 ||
      boot.sector_bytes > 4096 || !std::has_single_bit(per_cluster)) {
    return broken_boot(fmt::format("its clusters of {} sectors of {} bytes are impossible",
                                   per_cluster, boot.sector_bytes));
  }
  const uint32_t fat_sectors =
      field16(bytes, 0x16) != 0 ? field16(bytes, 0x16) : field32(bytes, 0x24);
  const uint32_t sectors = field16(bytes, 0x13) != 0 ? field16(bytes, 0x13) : field32(bytes, 0x20);
  if (reserved == 0 || boot.fats == 0 || fat_sectors == 0) {
    return broken_boot(fmt::format("{} FATs of {} sectors after {} others are impossible",
                                   boot.fats, fat_sectors, reserved));
  }
  const bool is_32 = field16(bytes, 0x16) == 0;
  boot.cluster_bytes = uint64_t{per_cluster} * boot.sector_bytes;
  boot.fat_start = uint64_t{reserved} * boot.sector_bytes;
  boot.fat_bytes = uint64_t{fat_sectors} * boot.sector_bytes;
  boot.size = uint64_t{sectors} * boot.sector_bytes;
  boot.root_start = boot.fat_start + boot.fats * boot.fat_bytes;
  boot.root_bytes = is_32 ? 0 : uint64_t{field16(bytes, 0x11)} * kSlotBytes;
  boot.heap_start =
      boot.root_start + div_round_up(boot.root_bytes, boot.sector_bytes) * boot.sector_bytes;
  if (boot.heap_start >= boot.size) {
    return broken_boot(fmt::format("its {} sectors end before its first cluster", sectors));
  }
  if (!is_32 && boot.root_bytes == 0) return broken_boot("its root has no entries");
  return {};
}

// Whether it is FAT12 or FAT16, only the count of clusters says; FAT32 has its fields elsewhere.
Result<void> read_clusters(BootSector& boot, Bytes bytes) {
  const uint64_t clusters = (boot.size - boot.heap_start) / boot.cluster_bytes;
  const bool is_32 = field16(bytes, 0x16) == 0;
  boot.bits = is_32 ? 32 : clusters < kLeast16 ? 12 : 16;
  if (clusters == 0 || clusters > (is_32 ? kMost32 : kMost16)) {
    return broken_boot(fmt::format("{} clusters are impossible in FAT{}", clusters, boot.bits));
  }
  boot.said_clusters = static_cast<uint32_t>(clusters);
  const uint64_t entries = boot.fat_bytes * 8 / boot.bits;
  if (entries <= 2) return broken_boot("its FAT has no entries");
  boot.clusters = static_cast<uint32_t>(std::min(clusters, entries - 2));
  if (!is_32) return {};
  if (field16(bytes, 0x2a) != 0) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("version {:#x} of FAT32 is not read", field16(bytes, 0x2a)));
  }
  const uint16_t flags = field16(bytes, 0x28);
  boot.is_mirrored = (flags & 0x80U) == 0;
  if (!boot.is_mirrored) boot.active_fat = flags & 0xfU;
  if (boot.active_fat >= boot.fats) {
    return broken_boot(fmt::format("its FAT {} is in use, of {}", boot.active_fat, boot.fats));
  }
  boot.root_cluster = field32(bytes, 0x2c);
  return {};
}

void read_extended(BootSector& boot, Bytes bytes) {
  const size_t at = boot.bits == 32 ? 0x40 : 0x24;
  const uint8_t signature = field8(bytes, at + 2);
  if (signature != 0x28 && signature != 0x29) return;
  boot.state = field8(bytes, at + 1);
  boot.serial = field32(bytes, at + 3);
  if (signature == 0x28) return;
  const std::string label = text_of_437(bytes.subspan(at + 7, 11));
  if (label != "NO NAME") boot.label = label;
}

}  // namespace

bool has_magic(Bytes head) {
  if (head.size() < kBootBytes) return false;
  const std::string_view oem = text_at(head, 3, 8);
  if (oem == "NTFS    " || oem == "EXFAT   " || oem == "-FVE-FS-") return false;
  if (text_at(head, 0x36, 3) == "FAT" || text_at(head, 0x52, 5) == "FAT32") return true;
  return field16(head, 0x1fe) == 0xaa55 && has_plausible_sizes(head);
}

Result<BootSector> parse_boot_sector(Bytes bytes) {
  BootSector boot;
  SNAP_TRY(read_sizes(boot, bytes));
  SNAP_TRY(read_clusters(boot, bytes));
  read_extended(boot, bytes);
  return boot;
}

bool Entry::is_dots() const {
  const auto is_space = [](std::byte byte) { return byte == std::byte{' '}; };
  if (name[0] != std::byte{'.'}) return false;
  return (is_space(name[1]) || name[1] == std::byte{'.'}) &&
         std::all_of(name.begin() + 2, name.end(), is_space);
}

bool is_end(Bytes slot) { return slot[0] == std::byte{0}; }
bool is_deleted(Bytes slot) { return slot[0] == kDeletedMark; }
bool is_long_part(Bytes slot) { return (field8(slot, 0xb) & 0x3fU) == kLongName; }

Entry parse_entry(Bytes slot, unsigned bits) {
  Entry entry;
  std::copy_n(slot.begin(), entry.name.size(), entry.name.begin());
  entry.is_deleted = is_deleted(slot);
  if (entry.name[0] == kFirstIsE5) entry.name[0] = kDeletedMark;
  entry.attributes = field8(slot, 0xb);
  entry.cases = field8(slot, 0xc);
  entry.first = field16(slot, 0x1a);
  if (bits == 32) entry.first |= uint32_t{field16(slot, 0x14)} << 16U;
  entry.size = field32(slot, 0x1c);
  entry.created = time_of(field16(slot, 0x10), field16(slot, 0xe), field8(slot, 0xd));
  entry.accessed = time_of(field16(slot, 0x12), 0);
  entry.modified = time_of(field16(slot, 0x18), field16(slot, 0x16));
  return entry;
}

std::optional<access::FileTime> time_of(uint16_t date, uint16_t time, uint8_t hundredths) {
  using namespace std::chrono;  // NOLINT: all of it is of dates
  const year_month_day day{year{1980 + (date >> 9U)}, month{date >> 5U & 0xfU},
                           std::chrono::day{date & 0x1fU}};
  const unsigned hour = time >> 11U;
  const unsigned minute = time >> 5U & 0x3fU;
  const unsigned second = 2U * (time & 0x1fU);
  if (!day.ok() || hour > 23 || minute > 59 || second > 59 || hundredths > 199) return std::nullopt;
  access::FileTime result;
  result.seconds = int64_t{sys_days{day}.time_since_epoch().count()} * 86'400 + hour * 3600 +
                   minute * 60 + second + hundredths / 100;
  result.nanoseconds = hundredths % 100U * 10'000'000U;
  return result;
}

std::string text_of_437(Bytes bytes, bool lower) {
  while (!bytes.empty() && bytes.back() == std::byte{' '}) bytes = bytes.first(bytes.size() - 1);
  std::string units;
  for (const std::byte byte : bytes) {
    const auto code = std::to_integer<uint16_t>(byte);
    uint16_t point = code < 0x80 ? code : kPage437[code - 0x80];
    if (lower && point >= 'A' && point <= 'Z') point = static_cast<uint16_t>(point + ('a' - 'A'));
    for (size_t i = 0; lower && i < kPairs.size(); i += 2) {
      if (point == kPairs[i]) point = kPairs[i + 1];
    }
    units += static_cast<char>(point & 0xffU);
    units += static_cast<char>(point >> 8U);
  }
  return wtf8_of_utf16(std::as_bytes(std::span(units)));
}

std::string short_name(const Entry& entry) {
  const Bytes name = entry.name;
  std::string text = text_of_437(name.first(8), (entry.cases & kLowerBase) != 0);
  const std::string extension = text_of_437(name.subspan(8), (entry.cases & kLowerExtension) != 0);
  if (!extension.empty()) text += "." + extension;
  const bool can_be = text != "." && text != ".." &&
                      text.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  return can_be ? text : "";
}

uint8_t name_sum(std::span<const std::byte, 11> name) {
  uint8_t sum = 0;
  for (const std::byte byte : name) {
    sum = static_cast<uint8_t>((sum << 7U | sum >> 1U) + std::to_integer<unsigned>(byte));
  }
  return sum;
}

}  // namespace snaptool::fat
