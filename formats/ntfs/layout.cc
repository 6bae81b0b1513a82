// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kMostClusterBytes = 2 * 1024 * 1024;
constexpr size_t kRecordHead = 42;
constexpr size_t kResidentHead = 24;
constexpr size_t kMappedHead = 64;
constexpr uint32_t kEndOfAttributes = 0xffffffff;

bool has_text(Bytes bytes, size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

// Clusters if positive, else 2^-n bytes.
Result<uint32_t> record_bytes_of(std::byte raw, unsigned cluster_bits) {
  const auto number = static_cast<int8_t>(raw);
  uint64_t bytes = 0;
  if (number > 0) bytes = static_cast<uint64_t>(number) << cluster_bits;
  if (number < 0 && number > -32) bytes = uint64_t{1} << static_cast<unsigned>(-number);
  if (bytes < kStride || bytes > kMostRecordBytes || !std::has_single_bit(bytes)) {
    return damaged(fmt::format("a record of its MFT has {} bytes", bytes));
  }
  return static_cast<uint32_t>(bytes);
}

Result<unsigned> cluster_bits_of(Bytes bytes, uint32_t sector_bytes) {
  const auto raw = std::to_integer<unsigned>(bytes[13]);
  uint64_t sectors = raw;
  if (raw > 0x80) sectors = 256 - raw < 32 ? uint64_t{1} << (256 - raw) : 0;
  const uint64_t cluster = sectors * sector_bytes;
  if (sectors == 0 || !std::has_single_bit(sectors) || cluster > kMostClusterBytes) {
    return damaged(fmt::format("a cluster has {} bytes", cluster));
  }
  return static_cast<unsigned>(std::countr_zero(cluster));
}

Error broken_attribute(uint64_t id, uint32_t type, std::string_view what) {
  return damaged(fmt::format("attribute 0x{:x} of record {} {}", type, id, what));
}

Result<void> parse_resident(Bytes raw, uint64_t id, Attribute& attribute) {
  const size_t length = load_le<uint32_t>(raw.data() + 16);
  const size_t offset = load_le<uint16_t>(raw.data() + 20);
  if (offset > raw.size() || length > raw.size() - offset) {
    return broken_attribute(id, attribute.type, "has a value that is cut");
  }
  attribute.value = raw.subspan(offset, length);
  attribute.size = attribute.initialized = length;
  return {};
}

Result<void> parse_mapped(Bytes raw, uint64_t id, Attribute& attribute) {
  if (raw.size() < kMappedHead) return broken_attribute(id, attribute.type, "is cut");
  attribute.first = load_le<uint64_t>(raw.data() + 16);
  attribute.end = load_le<uint64_t>(raw.data() + 24) + 1;  // -1: there is none
  const size_t offset = load_le<uint16_t>(raw.data() + 32);
  attribute.unit_bits = std::to_integer<unsigned>(raw[34]);
  constexpr uint64_t kMost = uint64_t{1} << 54U;  // no product with a cluster overflows
  if (attribute.end > kMost >> 12U || attribute.first > attribute.end) {
    return broken_attribute(id, attribute.type, "has impossible cluster numbers");
  }
  if (offset < 40 || offset > raw.size()) {
    return broken_attribute(id, attribute.type, "has runs that are cut");
  }
  attribute.runs = raw.subspan(offset);
  if (attribute.first > 0) return {};
  attribute.size = load_le<uint64_t>(raw.data() + 48);
  attribute.initialized = std::min(load_le<uint64_t>(raw.data() + 56), attribute.size);
  if (attribute.size >> 63U != 0) return broken_attribute(id, attribute.type, "is too large");
  return {};
}

}  // namespace

Reference reference_of(uint64_t raw) {
  return {raw & 0xffffffffffffU, static_cast<uint16_t>(raw >> 48U)};
}

bool has_boot_magic(Bytes head) { return has_text(head, 3, "NTFS    "sv); }

Result<Boot> parse_boot(Bytes bytes) {
  if (!has_boot_magic(bytes)) return damaged("there is no NTFS");
  Boot boot;
  boot.sector_bytes = load_le<uint16_t>(bytes.data() + 11);
  if (boot.sector_bytes < 256 || boot.sector_bytes > 4096 ||
      !std::has_single_bit(boot.sector_bytes)) {
    return damaged(fmt::format("a sector has {} bytes", boot.sector_bytes));
  }
  SNAP_ASSIGN(boot.cluster_bits, cluster_bits_of(bytes, boot.sector_bytes));
  boot.sectors = load_le<uint64_t>(bytes.data() + 40);
  if (boot.sectors >> 50U != 0) {
    return damaged(fmt::format("it has {} sectors", boot.sectors));
  }
  boot.clusters = boot.sectors * boot.sector_bytes >> boot.cluster_bits;
  boot.mft_cluster = load_le<uint64_t>(bytes.data() + 48);
  boot.mirror_cluster = load_le<uint64_t>(bytes.data() + 56);
  if (boot.mft_cluster >= boot.clusters) {
    return damaged(
        fmt::format("its MFT begins at cluster {} of {}", boot.mft_cluster, boot.clusters));
  }
  SNAP_ASSIGN(boot.record_bytes, record_bytes_of(bytes[64], boot.cluster_bits));
  boot.serial = load_le<uint64_t>(bytes.data() + 72);
  return boot;
}

Result<void> mend_sectors(std::span<std::byte> block, std::string_view magic,
                          const std::string& what) {
  if (!has_text(block, 0, magic)) {
    return damaged(fmt::format("{} does not begin as one", what));
  }
  const size_t offset = load_le<uint16_t>(block.data() + 4);
  const size_t count = load_le<uint16_t>(block.data() + 6);
  if (count != block.size() / kStride + 1 || offset % 2 != 0 || offset < 8 ||
      offset + 2 * count > kStride - 2) {
    return damaged(fmt::format("{} has an impossible update sequence", what));
  }
  const std::byte* const numbers = block.data() + offset;
  for (size_t i = 1; i < count; ++i) {
    std::byte* const end = block.data() + i * kStride - 2;
    if (std::memcmp(end, numbers, 2) != 0) {
      return damaged(fmt::format("{} is torn: not all of its sectors were written", what));
    }
    std::memcpy(end, numbers + 2 * i, 2);
  }
  return {};
}

Result<RecordHead> parse_record(Bytes record, uint64_t id) {
  RecordHead head;
  head.sequence = load_le<uint16_t>(record.data() + 16);
  head.attributes = load_le<uint16_t>(record.data() + 20);
  const auto flags = load_le<uint16_t>(record.data() + 22);
  head.is_used = (flags & 1U) != 0;
  head.is_folder = (flags & 2U) != 0;
  head.used_bytes = load_le<uint32_t>(record.data() + 24);
  head.base = reference_of(load_le<uint64_t>(record.data() + 32));
  if (head.used_bytes > record.size() || head.attributes < kRecordHead ||
      head.attributes % 8 != 0 || head.attributes > head.used_bytes) {
    return damaged(fmt::format("record {} has an impossible size", id));
  }
  // Records know their number since NTFS 3.1, which the place of the update sequence tells.
  const bool knows_number = load_le<uint16_t>(record.data() + 4) >= 48;
  if (knows_number && head.is_used &&
      load_le<uint32_t>(record.data() + 44) != static_cast<uint32_t>(id)) {
    return damaged(fmt::format("record {} says that it is record {}", id,
                               load_le<uint32_t>(record.data() + 44)));
  }
  return head;
}

Result<std::optional<Attribute>> parse_attribute(Bytes record, const RecordHead& head, uint64_t id,
                                                 size_t offset, size_t& next) {
  record = record.first(head.used_bytes);
  if (offset > record.size() || record.size() - offset < 4) {
    return damaged(fmt::format("the attributes of record {} have no end", id));
  }
  Bytes raw = record.subspan(offset);
  Attribute attribute;
  attribute.type = load_le<uint32_t>(raw.data());
  if (attribute.type == kEndOfAttributes) return std::optional<Attribute>();
  const size_t length = raw.size() >= 8 ? load_le<uint32_t>(raw.data() + 4) : 0;
  if (length < kResidentHead || length % 8 != 0 || length > raw.size()) {
    return broken_attribute(id, attribute.type, "is cut");
  }
  raw = raw.first(length);
  next = offset + length;
  attribute.offset = offset;
  attribute.is_resident = raw[8] == std::byte{0};
  const size_t name_bytes = 2 * std::to_integer<size_t>(raw[9]);
  const size_t name_offset = load_le<uint16_t>(raw.data() + 10);
  attribute.flags = load_le<uint16_t>(raw.data() + 12);
  attribute.instance = load_le<uint16_t>(raw.data() + 14);
  if (name_bytes > 0 && (name_offset > length || name_bytes > length - name_offset)) {
    return broken_attribute(id, attribute.type, "has a name that is cut");
  }
  if (name_bytes > 0) attribute.name = raw.subspan(name_offset, name_bytes);
  SNAP_TRY(attribute.is_resident ? parse_resident(raw, id, attribute)
                                 : parse_mapped(raw, id, attribute));
  return std::optional(attribute);
}

Result<FileName> parse_file_name(Bytes value) {
  constexpr size_t kHead = 66;
  if (value.size() < kHead) return damaged("a file's name is cut");
  FileName name;
  name.parent = reference_of(load_le<uint64_t>(value.data()));
  name.dos = load_le<uint32_t>(value.data() + 56);
  name.is_folder = (name.dos & 0x10000000U) != 0;
  const size_t length = 2 * std::to_integer<size_t>(value[64]);
  name.space = std::to_integer<uint8_t>(value[65]);
  if (length > value.size() - kHead) return damaged("a file's name is cut");
  name.name = value.subspan(kHead, length);
  return name;
}

Result<StandardInformation> parse_standard(Bytes value, uint64_t id) {
  if (value.size() < 48) {
    return damaged(fmt::format("the standard information of record {} is cut", id));
  }
  StandardInformation info;
  info.created = time_of(load_le<uint64_t>(value.data()));
  info.modified = time_of(load_le<uint64_t>(value.data() + 8));
  info.changed = time_of(load_le<uint64_t>(value.data() + 16));
  info.accessed = time_of(load_le<uint64_t>(value.data() + 24));
  info.dos = load_le<uint32_t>(value.data() + 32);
  if (value.size() >= 72) {  // since NTFS 3.0
    info.owner = load_le<uint32_t>(value.data() + 48);
    info.security = load_le<uint32_t>(value.data() + 52);
  }
  return info;
}

Result<void> visit_list(Bytes list, uint64_t id,
                        const std::function<Result<void>(const ListEntry&)>& visit) {
  constexpr size_t kHead = 26;
  const auto broken = [&] {
    return damaged(fmt::format("the list of the attributes of record {} is cut", id));
  };
  while (!list.empty()) {
    const size_t length = list.size() >= kHead ? load_le<uint16_t>(list.data() + 4) : 0;
    if (length < kHead || length > list.size()) return broken();
    ListEntry entry;
    entry.type = load_le<uint32_t>(list.data());
    const size_t name_bytes = 2 * std::to_integer<size_t>(list[6]);
    const size_t name_offset = std::to_integer<size_t>(list[7]);
    entry.first = load_le<uint64_t>(list.data() + 8);
    entry.record = reference_of(load_le<uint64_t>(list.data() + 16));
    entry.instance = load_le<uint16_t>(list.data() + 24);
    if (name_bytes > 0) {
      if (name_offset > length || name_bytes > length - name_offset) return broken();
      entry.name = list.subspan(name_offset, name_bytes);
    }
    SNAP_TRY(visit(entry));
    list = list.subspan(length);
  }
  return {};
}

Result<void> visit_mapping(const Attribute& attribute, uint64_t id, uint64_t clusters,
                           const std::function<Result<bool>(const Run&)>& visit) {
  Bytes rest = attribute.runs;
  uint64_t at = attribute.first;
  uint64_t place = 0;
  const auto number = [&](size_t from, size_t bytes, bool is_signed) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= std::to_integer<uint64_t>(rest[from + i]) << 8 * i;
    const bool negative = bytes > 0 && bytes < 8 && (rest[from + bytes - 1] >> 7) != std::byte{0};
    return is_signed && negative ? value | UINT64_MAX << 8 * bytes : value;
  };
  while (at < attribute.end) {
    if (rest.empty() || rest[0] == std::byte{0}) break;
    const size_t length_bytes = std::to_integer<size_t>(rest[0]) & 15U;
    const size_t place_bytes = std::to_integer<size_t>(rest[0]) >> 4U;
    if (length_bytes == 0 || length_bytes > 8 || place_bytes > 8 ||
        1 + length_bytes + place_bytes > rest.size()) {
      return broken_attribute(id, attribute.type, "has a run that is no run");
    }
    Run run{at, number(1, length_bytes, false), std::nullopt};
    if (run.length == 0 || run.length > attribute.end - at) {
      return broken_attribute(id, attribute.type,
                              "has a run of more clusters than it has, or of none");
    }
    if (place_bytes > 0) {
      place += number(1 + length_bytes, place_bytes, true);
      if (place > clusters || run.length > clusters - place) {
        return broken_attribute(id, attribute.type, "has a run outside of the file system");
      }
      run.place = place;
    }
    SNAP_ASSIGN(const bool goes_on, visit(run));
    if (!goes_on) return {};
    at += run.length;
    rest = rest.subspan(1 + length_bytes + place_bytes);
  }
  if (at == attribute.end) return {};
  return broken_attribute(id, attribute.type,
                          fmt::format("has runs for {} clusters of {}", at - attribute.first,
                                      attribute.end - attribute.first));
}

access::FileTime time_of(uint64_t raw) {
  constexpr uint64_t kUnits = 10'000'000;  // of 100 ns in a second
  constexpr int64_t kFrom1601 = 11'644'473'600;
  access::FileTime time;
  time.seconds = static_cast<int64_t>(raw / kUnits) - kFrom1601;
  time.nanoseconds = static_cast<uint32_t>(raw % kUnits) * 100;
  return time;
}

}  // namespace snaptool::ntfs
