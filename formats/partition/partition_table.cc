// SPDX-License-Identifier: Apache-2.0
#include "formats/partition/partition_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "formats/common/utf16.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

using Sector = std::array<std::byte, kSectorSize>;

constexpr size_t kMbrTable = 446;
constexpr size_t kMbrEntrySize = 16;
constexpr uint8_t kProtective = 0xee;
constexpr unsigned kMostLogical = 256;  // what the kernel takes
constexpr uint32_t kLeastGptHeader = 92;
constexpr uint32_t kGptEntrySize = 128;
constexpr uint32_t kMostGptEntrySize = 4096;
constexpr uint32_t kMostGptEntries = 4096;

struct MbrEntry {
  uint8_t boot = 0;
  uint8_t type = 0;
  uint32_t start = 0;  // sectors
  uint32_t count = 0;  // sectors
  bool empty() const { return type == 0 || count == 0; }
  bool extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

bool has_signature(const Sector& sector) {
  return sector[510] == std::byte{0x55} && sector[511] == std::byte{0xaa};
}

MbrEntry mbr_entry(const Sector& sector, size_t index) {
  const std::byte* const at = sector.data() + kMbrTable + index * kMbrEntrySize;
  return {static_cast<uint8_t>(at[0]), static_cast<uint8_t>(at[4]), load_le<uint32_t>(at + 8),
          load_le<uint32_t>(at + 12)};
}

access::Partition mbr_partition(const MbrEntry& entry, unsigned number, uint64_t start,
                                uint64_t size) {
  access::Partition partition;
  partition.number = number;
  partition.offset = start * kSectorSize;
  partition.length = uint64_t{entry.count} * kSectorSize;
  partition.type = fmt::format("0x{:02x}", entry.type);
  partition.passes_end = partition.offset + partition.length > size;
  return partition;
}

// A table, and the bytes of the disk that it lies in itself.
struct Found {
  access::PartitionTable table;
  std::vector<ByteRange> own;
};

// The chain of sectors, each with one logical partition and the way to the next, from `first` on.
// All but the offsets of the partitions themselves counts from there.
Result<void> read_logical(File& disk, uint64_t first, Found& found) {
  access::PartitionTable& table = found.table;
  std::set<uint64_t> seen;
  unsigned number = 5;
  for (uint64_t at = first; seen.size() < kMostLogical;) {
    if (!seen.insert(at).second) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("the chain of logical partitions in '{}' comes back to sector {}",
                               disk.name(), at));
    }
    const uint64_t offset = at * kSectorSize;
    if (offset + kSectorSize > disk.size()) {
      table.warnings.push_back(
          fmt::format("the chain of logical partitions goes on at sector {}, beyond the end", at));
      return {};
    }
    Sector sector{};
    SNAP_TRY(disk.read_at(offset, sector));
    found.own.push_back({offset, kSectorSize});
    if (!has_signature(sector)) {
      table.warnings.push_back(
          fmt::format("the chain of logical partitions ends in sector {} without a signature", at));
      return {};
    }
    std::optional<uint64_t> next;
    for (size_t i = 0; i < 4; ++i) {
      const MbrEntry entry = mbr_entry(sector, i);
      if (entry.empty()) continue;
      if (entry.extended()) {
        if (!next) next = first + entry.start;
      } else {
        table.partitions.push_back(mbr_partition(entry, number++, at + entry.start, disk.size()));
      }
    }
    if (!next) return {};
    at = *next;
  }
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' has more than {} logical partitions", disk.name(), kMostLogical));
}

// Says in one line what is wrong with all of these.
void warn_of(std::vector<unsigned> numbers, std::string_view what, access::PartitionTable& table) {
  if (numbers.empty()) return;
  std::sort(numbers.begin(), numbers.end());
  table.warnings.push_back(numbers.size() == 1
                               ? fmt::format("partition {}: {}", numbers[0], what)
                               : fmt::format("{} partitions from {} to {}: {}", numbers.size(),
                                             numbers.front(), numbers.back(), what));
}

void find_those_over_table(Found& found) {
  std::vector<unsigned> over;
  for (access::Partition& partition : found.table.partitions) {
    partition.over_table =
        std::any_of(found.own.begin(), found.own.end(), [&](const ByteRange& range) {
          return partition.offset < range.offset + range.length &&
                 range.offset < partition.offset + partition.length;
        });
    if (partition.over_table) over.push_back(partition.number);
  }
  warn_of(std::move(over), "bytes are shared with the partition table", found.table);
}

// Finds those that have bytes in common; each is told one of them.
void find_overlaps(access::PartitionTable& table) {
  constexpr size_t kMostPairs = 8;  // that are told one by one
  std::vector<std::string> pairs;
  std::vector<unsigned> numbers;
  std::vector<access::Partition*> by_offset;
  for (access::Partition& partition : table.partitions) by_offset.push_back(&partition);
  std::stable_sort(by_offset.begin(), by_offset.end(),
                   [](const auto* a, const auto* b) { return a->offset < b->offset; });
  access::Partition* furthest = nullptr;  // that ends last of those before
  for (access::Partition* const partition : by_offset) {
    if (furthest != nullptr && partition->offset < furthest->offset + furthest->length) {
      partition->overlaps = furthest->number;
      if (furthest->overlaps == 0) furthest->overlaps = partition->number;
      numbers.push_back(partition->number);
      if (pairs.size() < kMostPairs) {
        pairs.push_back(fmt::format("partitions {} and {} overlap",
                                    std::min(furthest->number, partition->number),
                                    std::max(furthest->number, partition->number)));
      }
    }
    if (furthest == nullptr ||
        partition->offset + partition->length > furthest->offset + furthest->length) {
      furthest = partition;
    }
  }
  if (numbers.size() <= kMostPairs) {
    table.warnings.insert(table.warnings.end(), pairs.begin(), pairs.end());
  } else {
    warn_of(std::move(numbers), "bytes are shared with other partitions", table);
  }
}

Result<std::optional<Found>> read_mbr(File& disk, const Sector& sector) {
  Found found;
  access::PartitionTable& table = found.table;
  std::vector<uint64_t> extended;
  for (size_t i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(sector, i);
    // A file system's boot sector has code here.
    if (entry.boot != 0 && entry.boot != 0x80) return std::optional<Found>();
    if (entry.empty()) continue;
    if (entry.start == 0) return std::optional<Found>();
    if (entry.extended()) {
      extended.push_back(entry.start);
    } else {
      table.partitions.push_back(
          mbr_partition(entry, static_cast<unsigned>(i + 1), entry.start, disk.size()));
    }
  }
  if (table.partitions.empty() && extended.empty()) return std::optional<Found>();
  table.id = fmt::format("0x{:08x}", load_le<uint32_t>(sector.data() + 440));
  // The kernel follows one only.
  if (!extended.empty()) SNAP_TRY(read_logical(disk, extended.front(), found));
  return std::optional(std::move(found));
}

std::string guid_text(const std::byte* at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned>(at[i]); };
  const uint16_t second = static_cast<uint16_t>(byte(4) | byte(5) << 8U);
  const uint16_t third = static_cast<uint16_t>(byte(6) | byte(7) << 8U);
  std::string text = fmt::format("{:08X}-{:04X}-{:04X}-{:02X}{:02X}-", load_le<uint32_t>(at),
                                 second, third, byte(8), byte(9));
  for (size_t i = 10; i < 16; ++i) text += fmt::format("{:02X}", byte(i));
  return text;
}

// Zeroes the header's own CRC and compares.
bool header_crc_is_right(std::span<const std::byte> header) {
  std::vector<std::byte> copy(header.begin(), header.end());
  std::fill_n(copy.begin() + 16, 4, std::byte{0});
  return crc32(copy) == load_le<uint32_t>(header.data() + 16);
}

// The header in sector `lba`, and its entries. Errors: kCorruption, saying what is wrong.
void add_gpt_entries(std::span<const std::byte> entries, uint32_t entry_size, uint64_t disk_size,
                     access::PartitionTable& table) {
  std::vector<unsigned> senseless;
  for (uint32_t i = 0; i < entries.size() / entry_size; ++i) {
    const auto entry = entries.subspan(uint64_t{i} * entry_size, kGptEntrySize);
    if (std::all_of(entry.begin(), entry.begin() + 16,
                    [](std::byte b) { return b == std::byte{0}; })) {
      continue;
    }
    access::Partition partition;
    partition.number = i + 1;
    const uint64_t first = load_le<uint64_t>(entry.data() + 32);
    const uint64_t last = load_le<uint64_t>(entry.data() + 40);
    const auto end = last < UINT64_MAX ? checked_mul(last + 1, table.sector_size) : std::nullopt;
    if (first > last || !end || *end > kMaxFileSize) {
      senseless.push_back(i + 1);
      continue;
    }
    partition.offset = first * table.sector_size;
    partition.length = *end - partition.offset;
    partition.type = guid_text(entry.data());
    partition.uuid = guid_text(entry.data() + 16);
    partition.name = utf8_of_utf16(entry.subspan(56, 72));
    partition.passes_end = *end > disk_size;
    table.partitions.push_back(std::move(partition));
  }
  warn_of(std::move(senseless), "first and last sector make no sense: left out", table);
}

Result<Found> read_gpt_at(File& disk, uint64_t lba, uint64_t sector_size) {
  const auto damaged = [&](std::string_view what) {
    return Error(ErrorCode::kCorruption, std::string(what));
  };
  std::vector<std::byte> header(sector_size);
  const auto offset = checked_mul(lba, sector_size);
  if (!offset || *offset > disk.size() || disk.size() - *offset < sector_size) {
    return damaged("it lies beyond the end");
  }
  SNAP_TRY(disk.read_at(*offset, header));
  constexpr std::string_view kSignature = "EFI PART";
  if (!std::equal(kSignature.begin(), kSignature.end(), header.begin(),
                  [](char c, std::byte b) { return static_cast<std::byte>(c) == b; })) {
    return damaged("its signature is missing");
  }
  const uint32_t size = load_le<uint32_t>(header.data() + 12);
  if (size < kLeastGptHeader || size > sector_size) return damaged("its size is impossible");
  if (!header_crc_is_right(std::span(header).first(size))) return damaged("its CRC is wrong");
  if (load_le<uint64_t>(header.data() + 24) != lba) return damaged("it names another sector");
  const uint64_t entries_lba = load_le<uint64_t>(header.data() + 72);
  const uint32_t count = load_le<uint32_t>(header.data() + 80);
  const uint32_t entry_size = load_le<uint32_t>(header.data() + 84);
  if (entry_size < kGptEntrySize || entry_size > kMostGptEntrySize ||
      entry_size % kGptEntrySize != 0 || count > kMostGptEntries) {
    return damaged(fmt::format("{} entries of {} bytes are not supported", count, entry_size));
  }
  const uint64_t bytes = uint64_t{count} * entry_size;
  const auto entries_offset = checked_mul(entries_lba, sector_size);
  if (!entries_offset || *entries_offset > disk.size() || disk.size() - *entries_offset < bytes) {
    return damaged("its entries lie beyond the end");
  }
  std::vector<std::byte> entries(bytes);
  SNAP_TRY(disk.read_at(*entries_offset, entries));
  if (crc32(entries) != load_le<uint32_t>(header.data() + 88)) {
    return damaged("the CRC of its entries is wrong");
  }
  Found found;
  found.own = {{*offset, sector_size}, {*entries_offset, bytes}};
  access::PartitionTable& table = found.table;
  table.kind = access::PartitionTable::Kind::kGpt;
  table.sector_size = sector_size;
  table.id = guid_text(header.data() + 56);
  add_gpt_entries(entries, entry_size, disk.size(), table);
  return found;
}

// The GPT of a disk that has a protective MBR.
Result<Found> read_gpt(File& disk) {
  std::string problem;
  for (const uint64_t sector_size : {uint64_t{512}, uint64_t{4096}}) {
    auto primary = read_gpt_at(disk, 1, sector_size);
    if (primary) return primary;
    if (primary.error().code() != ErrorCode::kCorruption) return primary;
    if (sector_size == 512) problem = primary.error().message();
  }
  for (const uint64_t sector_size : {uint64_t{512}, uint64_t{4096}}) {
    if (disk.size() < 2 * sector_size) continue;
    auto backup = read_gpt_at(disk, disk.size() / sector_size - 1, sector_size);
    if (!backup) {
      if (backup.error().code() != ErrorCode::kCorruption) return backup;
      continue;
    }
    backup->table.warnings.insert(
        backup->table.warnings.begin(),
        fmt::format("the GPT at the start is damaged ({}): its backup is used", problem));
    return backup;
  }
  return Error(
      ErrorCode::kCorruption,
      fmt::format("'{}' has a protective MBR, but its GPT is damaged ({}), and there is no "
                  "backup of it at the end",
                  disk.name(), problem));
}

access::PartitionTable checked(Found found) {
  found.own.push_back({0, kSectorSize});
  find_those_over_table(found);
  find_overlaps(found.table);
  return std::move(found.table);
}

}  // namespace

Result<std::optional<access::PartitionTable>> read_partition_table(File& disk) {
  Sector sector{};
  if (disk.size() < sector.size()) return std::optional<access::PartitionTable>();
  SNAP_TRY(disk.read_at(0, sector));
  if (!has_signature(sector)) return std::optional<access::PartitionTable>();
  for (size_t i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(sector, i);
    if (entry.type != kProtective || entry.start != 1) continue;
    SNAP_ASSIGN(Found found, read_gpt(disk));
    return std::optional(checked(std::move(found)));
  }
  SNAP_ASSIGN(auto found, read_mbr(disk, sector));
  if (!found) return std::optional<access::PartitionTable>();
  return std::optional(checked(*std::move(found)));
}

namespace {

// Atari's has no magic: an entry that is in use, says so and has a name of three letters, and lies
// within the disk.
bool has_atari_entry(std::span<const std::byte> sector, uint64_t disk_size) {
  constexpr size_t kTable = 0x1c6;
  constexpr size_t kEntrySize = 12;
  for (size_t i = 0; i < 4; ++i) {
    const std::byte* const entry = sector.data() + kTable + i * kEntrySize;
    const std::string_view id(reinterpret_cast<const char*>(entry) + 1, 3);
    const uint64_t start = load_be<uint32_t>(entry + 4);
    const uint64_t count = load_be<uint32_t>(entry + 8);
    const bool known = id == "GEM" || id == "BGM" || id == "XGM" || id == "LNX" || id == "RAW";
    if (known && (entry[0] & std::byte{1}) == std::byte{1} && count > 0 &&
        (start + count) * kSectorSize <= disk_size) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<std::string_view> unread_partition_table(File& disk) {
  using namespace std::string_view_literals;
  struct Label {
    size_t offset;
    std::string_view magic;
    std::string_view name;
  };
  // DASD labels are in EBCDIC: VOL1, LNX1, CMS1.
  static constexpr auto kLabels = std::to_array<Label>({{512, "WEV\x82"sv, "BSD"},
                                                        {64, "WEV\x82"sv, "BSD"},
                                                        {0, "\x0b\xe5\xa9\x41"sv, "SGI"},
                                                        {508, "\xda\xbe"sv, "Sun"},
                                                        {512, "PM\0\0"sv, "Apple"},
                                                        {0, "RDSK"sv, "Amiga"},
                                                        {512, "RDSK"sv, "Amiga"},
                                                        {8192, "\xe5\xd6\xd3\xf1"sv, "DASD"},
                                                        {8192, "\xd3\xd5\xe7\xf1"sv, "DASD"},
                                                        {8192, "\xc3\xd4\xe2\xf1"sv, "DASD"},
                                                        {512, "\xd3\xd5\xe7\xf1"sv, "DASD"},
                                                        {512, "\xc3\xd4\xe2\xf1"sv, "DASD"}});
  std::vector<std::byte> bytes(std::min<uint64_t>(disk.size(), 16 * kKiB));
  SNAP_TRY(disk.read_at(0, bytes));
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Label& label : kLabels) {
    if (head.size() > label.offset && head.substr(label.offset).starts_with(label.magic)) {
      return label.name;
    }
  }
  const bool atari = bytes.size() >= kSectorSize && has_atari_entry(bytes, disk.size());
  return atari ? "Atari"sv : ""sv;
}

std::string_view partition_type_name(std::string_view type) {
  struct Name {
    std::string_view type;
    std::string_view name;
  };
  static constexpr std::array<Name, 19> kNames = {{
      {"0x07", "NTFS or exFAT"},
      {"0x0b", "FAT32"},
      {"0x0c", "FAT32"},
      {"0x0e", "FAT16"},
      {"0x82", "Linux swap"},
      {"0x83", "Linux"},
      {"0x8e", "Linux LVM"},
      {"0xef", "EFI system"},
      {"0xfd", "Linux RAID"},
      {"0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux"},
      {"0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "Linux swap"},
      {"E6D6D379-F507-44C2-A23C-238F2A3DF928", "Linux LVM"},
      {"A19D880F-05FC-4D3B-A006-743F0F84911E", "Linux RAID"},
      {"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "Linux root (x86-64)"},
      {"933AC7E1-2EB4-4F13-B844-0E14E2AEF915", "Linux home"},
      {"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI system"},
      {"21686148-6449-6E6F-744E-656564454649", "BIOS boot"},
      {"EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "Microsoft basic data"},
      {"E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "Microsoft reserved"},
  }};
  for (const Name& one : kNames) {
    if (one.type == type) return one.name;
  }
  return {};
}

}  // namespace snaptool
