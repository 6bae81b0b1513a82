// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/utf16.h"
#include "libsnap/base/endian.h"

namespace snaptool::iso9660 {
namespace {

using access::FileTime;

constexpr size_t kIdentifierAt = 1;
constexpr int64_t kDaySeconds = 86'400;
constexpr int64_t kZoneSeconds = 15 * 60;

uint8_t byte_at(Bytes bytes, size_t at) { return std::to_integer<uint8_t>(bytes[at]); }

std::string_view text_at(Bytes bytes, size_t at, size_t length) {
  return {reinterpret_cast<const char*>(bytes.data() + at), length};
}

// Of the Gregorian calendar, since 1970.
int64_t days_since_epoch(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t of_era = year - era * 400;
  const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146'097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719'468;
}

struct Clock {
  int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
};

std::optional<int64_t> seconds_of(const Clock& clock, uint8_t zone_byte) {
  const auto zone = static_cast<int8_t>(zone_byte);
  const bool possible = clock.month >= 1 && clock.month <= 12 && clock.day >= 1 &&
                        clock.day <= 31 && clock.hour < 24 && clock.minute < 60 &&
                        clock.second <= 60 && zone >= -52 && zone <= 52;
  if (!possible) return std::nullopt;
  return days_since_epoch(clock.year, clock.month, clock.day) * kDaySeconds + clock.hour * 3600 +
         clock.minute * 60 + clock.second - zone * kZoneSeconds;
}

std::optional<int64_t> number_of(std::string_view digits) {
  int64_t number = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + (digit - '0');
  }
  return number;
}

std::string trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
  return std::string(text);
}

// "2020-01-31-23-59-59-00".
std::string uuid_of_time(std::string_view time) {
  return fmt::format("{}-{}-{}-{}-{}-{}-{}", time.substr(0, 4), time.substr(4, 2),
                     time.substr(6, 2), time.substr(8, 2), time.substr(10, 2), time.substr(12, 2),
                     time.substr(14, 2));
}

std::string uuid_of_times(std::string_view created, std::string_view modified) {
  for (const std::string_view time : {modified, created}) {
    if (number_of(time.substr(0, 16)).value_or(0) != 0) return uuid_of_time(time);
  }
  return {};
}

bool has_joliet_escape(Bytes sector) {
  const std::string_view escapes = text_at(sector, 88, 32);
  return escapes.starts_with("%/@") || escapes.starts_with("%/C") || escapes.starts_with("%/E");
}

// Whether it had one.
bool drop_version(std::string& name) {
  if (name.size() <= 2 || !name.ends_with(";1")) return false;
  name.resize(name.size() - 2);
  return true;
}

}  // namespace

BothOrders both16(const std::byte* from) {
  const auto little = load_le<uint16_t>(from);
  return {little, little != load_be<uint16_t>(from + 2)};
}

BothOrders both32(const std::byte* from) {
  const auto little = load_le<uint32_t>(from);
  return {little, little != load_be<uint32_t>(from + 4)};
}

std::string_view Record::name() const { return text_at(bytes, kRecordHead, name_length); }

Bytes Record::system_use() const {
  // An even name is followed by a byte that makes what follows begin at an even place.
  const size_t from = kRecordHead + name_length + (name_length % 2 == 0 ? 1 : 0);
  if (from >= length) return {};
  return Bytes(bytes).first(length).subspan(from);
}

Result<Record> parse_record(Bytes bytes, uint64_t at) {
  Record record;
  record.at = at;
  record.length = bytes.empty() ? 0 : byte_at(bytes, 0);
  if (record.length <= kRecordHead || record.length > bytes.size()) {
    return damaged(fmt::format("the directory record at byte {} has {} bytes where {} are left", at,
                               record.length, bytes.size()));
  }
  std::copy_n(bytes.begin(), record.length, record.bytes.begin());
  record.attribute_blocks = byte_at(bytes, 1);
  const BothOrders block = both32(&bytes[2]);
  const BothOrders size = both32(&bytes[10]);
  const BothOrders volume = both16(&bytes[28]);
  record.block = block.value;
  record.size = size.value;
  record.volume = static_cast<uint16_t>(volume.value);
  record.orders_differ = block.differ || size.differ || volume.differ;
  record.time = short_time(bytes.subspan(18, 7));
  record.flags = byte_at(bytes, 25);
  record.unit_blocks = byte_at(bytes, 26);
  record.gap_blocks = byte_at(bytes, 27);
  record.name_length = byte_at(bytes, 32);
  if (record.name_length == 0 || kRecordHead + record.name_length > record.length) {
    return damaged(fmt::format("the directory record at byte {} has a name of {} bytes in {}", at,
                               record.name_length, record.length));
  }
  return record;
}

Result<Descriptor> parse_descriptor(Bytes sector, uint64_t at) {
  Descriptor descriptor;
  descriptor.at = at;
  descriptor.is_primary = static_cast<DescriptorType>(sector[0]) == DescriptorType::kPrimary;
  descriptor.is_joliet = !descriptor.is_primary && has_joliet_escape(sector);
  descriptor.label = descriptor.is_joliet ? trimmed(utf8_of_utf16(sector.subspan(40, 32), true))
                                          : trimmed(text_at(sector, 40, 32));
  const BothOrders blocks = both32(&sector[80]);
  const BothOrders volumes = both16(&sector[120]);
  const BothOrders volume = both16(&sector[124]);
  const BothOrders block_bytes = both16(&sector[128]);
  const BothOrders table_bytes = both32(&sector[132]);
  descriptor.orders_differ =
      blocks.differ || volumes.differ || volume.differ || block_bytes.differ || table_bytes.differ;
  descriptor.blocks = blocks.value;
  descriptor.volumes = static_cast<uint16_t>(volumes.value);
  descriptor.volume = static_cast<uint16_t>(volume.value);
  descriptor.block_bytes = block_bytes.value;
  descriptor.path_table_bytes = table_bytes.value;
  descriptor.path_tables = {load_le<uint32_t>(&sector[140]), load_le<uint32_t>(&sector[144]),
                            load_be<uint32_t>(&sector[148]), load_be<uint32_t>(&sector[152])};
  descriptor.uuid = uuid_of_times(text_at(sector, 813, 17), text_at(sector, 830, 17));
  if (descriptor.block_bytes != 512 && descriptor.block_bytes != 1024 &&
      descriptor.block_bytes != 2048) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("its logical blocks have {} bytes", descriptor.block_bytes));
  }
  SNAP_ASSIGN(descriptor.root, parse_record(sector.subspan(kRootRecordAt, 34), at + kRootRecordAt));
  descriptor.orders_differ = descriptor.orders_differ || descriptor.root.orders_differ;
  if (!descriptor.root.is_folder()) return damaged("its root is no folder");
  return descriptor;
}

bool has_identifier(Bytes sector, std::string_view identifier) {
  return sector.size() >= kIdentifierAt + identifier.size() &&
         text_at(sector, kIdentifierAt, identifier.size()) == identifier;
}

bool has_magic(Bytes head) {
  constexpr size_t kAt = kFirstDescriptor * kSectorBytes;
  return head.size() > kAt && has_identifier(head.subspan(kAt), "CD001");
}

std::optional<FileTime> short_time(Bytes bytes) {
  const Clock clock{1900 + byte_at(bytes, 0), byte_at(bytes, 1), byte_at(bytes, 2),
                    byte_at(bytes, 3),        byte_at(bytes, 4), byte_at(bytes, 5)};
  const auto seconds = seconds_of(clock, byte_at(bytes, 6));
  if (!seconds) return std::nullopt;
  return FileTime{*seconds, 0};
}

std::optional<FileTime> long_time(Bytes bytes) {
  const std::string_view text = text_at(bytes, 0, 16);
  if (!number_of(text)) return std::nullopt;
  const auto part = [&](size_t at, size_t length) { return *number_of(text.substr(at, length)); };
  const Clock clock{part(0, 4), part(4, 2), part(6, 2), part(8, 2), part(10, 2), part(12, 2)};
  const auto seconds = seconds_of(clock, byte_at(bytes, 16));
  if (!seconds) return std::nullopt;
  return FileTime{*seconds, static_cast<uint32_t>(part(14, 2)) * 10'000'000};
}

std::string plain_name(std::string_view name) {
  std::string plain(name);
  if (drop_version(plain) && plain.size() > 1 && plain.ends_with('.')) plain.pop_back();
  return plain;
}

std::string joliet_name(std::string_view name) {
  std::string text = wtf8_of_utf16(std::as_bytes(std::span(name)), true);
  // Some writers end names as C does.
  while (!text.empty() && text.back() == '\0') text.pop_back();
  drop_version(text);
  return text;
}

}  // namespace snaptool::iso9660
