// SPDX-License-Identifier: Apache-2.0
#include "formats/exfat/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "formats/common/utf16.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"

namespace snaptool::exfat {
namespace {

constexpr uint32_t kMostClusters = 0xfffffff5;
constexpr unsigned kMostClusterBits = 25;
constexpr size_t kNameUnits = 15;  // of an entry
constexpr size_t kUnits = 65'536;
constexpr uint16_t kSkip = 0xffff;
constexpr uint8_t kHasAllocation = 1;
constexpr uint8_t kNoChain = 2;
constexpr uint8_t kHasZone = 0x80;

uint8_t byte_at(Bytes bytes, size_t at) { return std::to_integer<uint8_t>(bytes[at]); }
uint16_t half_at(Bytes bytes, size_t at) { return load_le<uint16_t>(bytes.data() + at); }
uint32_t word_at(Bytes bytes, size_t at) { return load_le<uint32_t>(bytes.data() + at); }
uint64_t long_at(Bytes bytes, size_t at) { return load_le<uint64_t>(bytes.data() + at); }

Error damaged_set(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

template <typename Sum>
Sum added(Sum sum, uint8_t byte) {
  constexpr unsigned kTop = sizeof(Sum) * 8 - 1;
  return static_cast<Sum>(static_cast<Sum>(sum << kTop | sum >> 1U) + byte);
}

Result<void> check_places(const BootSector& boot, uint64_t fat_end) {
  if (boot.clusters == 0 || boot.clusters > kMostClusters || boot.heap_start > boot.size ||
      boot.clusters > (boot.size - boot.heap_start) / boot.cluster_bytes) {
    return damaged_set(fmt::format("{} clusters of {} bytes do not fit into its {} bytes",
                                   boot.clusters, boot.cluster_bytes, boot.size));
  }
  if (boot.fat_bytes / 4 < uint64_t{boot.clusters} + 2 || fat_end > boot.heap_start) {
    return damaged_set(fmt::format("its FAT of {} bytes is impossible", boot.fat_bytes));
  }
  if (boot.root_cluster < 2 || boot.root_cluster - 2 >= boot.clusters) {
    return damaged_set(
        fmt::format("its root begins at cluster {}, which is none", boot.root_cluster));
  }
  return {};
}

// A time, and the quarters of an hour that its zone is east of UTC; nothing: there is no such time.
std::optional<access::FileTime> exfat_time(uint32_t stamp, uint8_t hundredths, uint8_t zone,
                                           bool& is_local) {
  using namespace std::chrono;  // NOLINT: all of it is of dates
  const auto day_of_month = std::chrono::day{stamp >> 16U & 0x1fU};
  const year_month_day day{year{1980 + static_cast<int>(stamp >> 25U)}, month{stamp >> 21U & 0xfU},
                           day_of_month};
  const unsigned hour = stamp >> 11U & 0x1fU;
  const unsigned minute = stamp >> 5U & 0x3fU;
  const unsigned second = 2U * (stamp & 0x1fU);
  if (!day.ok() || hour > 23 || minute > 59 || second > 59 || hundredths > 199) return std::nullopt;
  access::FileTime time;
  time.seconds = int64_t{sys_days{day}.time_since_epoch().count()} * 86'400 + hour * 3600 +
                 minute * 60 + second + hundredths / 100;
  time.nanoseconds = hundredths % 100U * 10'000'000U;
  if ((zone & kHasZone) == 0) {
    is_local = true;
    return time;
  }
  const int quarters = (zone & 0x40U) != 0 ? static_cast<int>(zone & 0x7fU) - 128 : zone & 0x7f;
  time.seconds -= int64_t{quarters} * 900;
  return time;
}

void read_times(EntrySet& set, Bytes file) {
  bool& local = set.has_local_times;
  set.created = exfat_time(word_at(file, 8), byte_at(file, 20), byte_at(file, 22), local);
  set.modified = exfat_time(word_at(file, 12), byte_at(file, 21), byte_at(file, 23), local);
  set.accessed = exfat_time(word_at(file, 16), 0, byte_at(file, 24), local);
}

Result<void> read_stream(EntrySet& set, Bytes stream) {
  const uint8_t flags = byte_at(stream, 1);
  set.name_hash = half_at(stream, 4);
  set.valid = long_at(stream, 8);
  set.size = long_at(stream, 24);
  set.is_contiguous = (flags & kNoChain) != 0;
  if ((flags & kHasAllocation) != 0) set.first = word_at(stream, 20);
  if (set.valid > set.size || set.size > INT64_MAX) {
    return damaged_set(
        fmt::format("an entry has {} bytes, {} of them written", set.size, set.valid));
  }
  return {};
}

Result<void> read_name(EntrySet& set, Bytes slots, size_t length) {
  std::vector<std::byte> units;
  for (size_t at = 2 * kSlotBytes; units.size() < 2 * length; at += kSlotBytes) {
    if (at >= slots.size() || (type_of(slots.subspan(at)) | kInUse) != kName) {
      return damaged_set("an entry's name is cut");
    }
    const Bytes piece =
        slots.subspan(at + 2, std::min<size_t>(2 * kNameUnits, 2 * length - units.size()));
    units.insert(units.end(), piece.begin(), piece.end());
  }
  for (size_t at = 0; at < units.size(); at += 2) {
    set.name_units.push_back(load_le<uint16_t>(units.data() + at));
  }
  set.name = wtf8_of_utf16(units);
  if (set.name.empty() || set.name == "." || set.name == ".." ||
      set.name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
    return damaged_set("an entry has an impossible name");
  }
  return {};
}

}  // namespace

bool has_magic(Bytes head) {
  return head.size() >= kBootBytes && std::memcmp(head.data() + 3, "EXFAT   ", 8) == 0;
}

Result<BootSector> parse_boot_sector(Bytes bytes) {
  BootSector boot;
  if (byte_at(bytes, 0x69) != 1) {
    return Error(ErrorCode::kUnsupported, fmt::format("version {}.{} of exFAT is not read",
                                                      byte_at(bytes, 0x69), byte_at(bytes, 0x68)));
  }
  const unsigned sector_bits = byte_at(bytes, 0x6c);
  const unsigned more_bits = byte_at(bytes, 0x6d);
  boot.fats = byte_at(bytes, 0x6e);
  const uint64_t sectors = long_at(bytes, 0x48);
  if (sector_bits < 9 || sector_bits > 12 || more_bits > kMostClusterBits - sector_bits ||
      boot.fats < 1 || boot.fats > 2 || sectors > uint64_t{INT64_MAX} >> sector_bits) {
    return damaged_set(
        fmt::format("{} sectors of 2^{} bytes, in clusters of 2^{}, with {} FATs, "
                    "are impossible",
                    sectors, sector_bits, more_bits, boot.fats));
  }
  const uint16_t flags = half_at(bytes, 0x6a);
  boot.sector_bytes = 1U << sector_bits;
  boot.cluster_bytes = uint64_t{boot.sector_bytes} << more_bits;
  boot.size = sectors << sector_bits;
  boot.active = boot.fats == 2 ? flags & 1U : 0;
  boot.is_dirty = (flags & 2U) != 0;
  boot.has_failed = (flags & 4U) != 0;
  boot.fat_bytes = uint64_t{word_at(bytes, 0x54)} << sector_bits;
  const uint64_t first_fat = uint64_t{word_at(bytes, 0x50)} << sector_bits;
  boot.fat_start = first_fat + boot.active * boot.fat_bytes;
  boot.heap_start = uint64_t{word_at(bytes, 0x58)} << sector_bits;
  boot.clusters = word_at(bytes, 0x5c);
  boot.root_cluster = word_at(bytes, 0x60);
  boot.serial = word_at(bytes, 0x64);
  SNAP_TRY(check_places(boot, first_fat + boot.fats * boot.fat_bytes));
  return boot;
}

uint32_t boot_sum(Bytes sectors) {
  uint32_t sum = 0;
  for (size_t at = 0; at < sectors.size(); ++at) {
    if (at == 0x6a || at == 0x6b || at == 0x70) continue;  // these change
    sum = added(sum, byte_at(sectors, at));
  }
  return sum;
}

uint8_t type_of(Bytes slot) { return byte_at(slot, 0); }
size_t set_slots(Bytes slot) { return size_t{byte_at(slot, 1)} + 1; }

Result<EntrySet> parse_set(Bytes slots) {
  EntrySet set;
  set.is_deleted = (type_of(slots) & kInUse) == 0;
  uint16_t sum = 0;
  for (size_t at = 0; at < slots.size(); ++at) {
    // The sum is that of the set as it was in use.
    const uint8_t byte = byte_at(slots, at) | (at % kSlotBytes == 0 ? kInUse : 0);
    if (at != 2 && at != 3) sum = added(sum, byte);
  }
  set.is_sum_wrong = sum != half_at(slots, 2);
  set.attributes = half_at(slots, 4);
  read_times(set, slots);
  if (slots.size() < 3 * kSlotBytes || (type_of(slots.subspan(kSlotBytes)) | kInUse) != kStream) {
    return damaged_set("an entry says of no stream");
  }
  const Bytes stream = slots.subspan(kSlotBytes, kSlotBytes);
  SNAP_TRY(read_stream(set, stream));
  const size_t length = byte_at(stream, 3);
  SNAP_TRY(read_name(set, slots, length));
  const size_t known = 2 + (length + kNameUnits - 1) / kNameUnits;
  const Bytes more = slots.subspan(known * kSlotBytes);
  if (!more.empty()) set.more_sum = uint64_t{crc32(more)} << 32U | crc32(more, 1);
  return set;
}

Extent extent_of(Bytes slot) { return {word_at(slot, 20), long_at(slot, 24)}; }

std::string label_of(Bytes slot) {
  const size_t units = std::min<size_t>(byte_at(slot, 1), 11);
  return wtf8_of_utf16(slot.subspan(2, 2 * units));
}

uint32_t upcase_sum(Bytes packed) {
  uint32_t sum = 0;
  for (const std::byte byte : packed) sum = added(sum, std::to_integer<uint8_t>(byte));
  return sum;
}

// 0xffff and a number stand for so many units that are their own capital ones.
std::optional<UpcaseTable> parse_upcase(Bytes packed) {
  UpcaseTable table;
  table.reserve(kUnits);
  for (size_t at = 0; at + 2 <= packed.size() && table.size() < kUnits; at += 2) {
    const uint16_t unit = half_at(packed, at);
    if (unit != kSkip || at + 4 > packed.size()) {
      table.push_back(unit);
      continue;
    }
    at += 2;
    for (uint32_t left = half_at(packed, at); left > 0; --left) {
      if (table.size() == kUnits) return std::nullopt;
      table.push_back(static_cast<uint16_t>(table.size()));
    }
  }
  while (table.size() < kUnits) table.push_back(static_cast<uint16_t>(table.size()));
  return table;
}

uint16_t name_hash(const std::vector<uint16_t>& units, const UpcaseTable& table) {
  uint16_t hash = 0;
  for (const uint16_t unit : units) {
    const uint16_t capital = table[unit];
    hash = added(hash, static_cast<uint8_t>(capital & 0xffU));
    hash = added(hash, static_cast<uint8_t>(capital >> 8U));
  }
  return hash;
}

}  // namespace snaptool::exfat
