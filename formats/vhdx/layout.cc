// SPDX-License-Identifier: Apache-2.0
#include "formats/vhdx/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "formats/common/utf16.h"
#include "libsnap/base/check.h"
#include "libsnap/base/crc32c.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::vhdx {
namespace {

constexpr std::string_view kFileMagic = "vhdxfile";
constexpr std::string_view kHeaderMagic = "head";
constexpr std::string_view kRegionMagic = "regi";
constexpr std::string_view kMetadataMagic = "metadata";
constexpr std::string_view kCreator = "snaptool";
constexpr uint32_t kVersion = 1;
constexpr size_t kChecksumAt = 4;
constexpr size_t kMostEntries = 2047;  // of a table of regions or items
constexpr size_t kRegionsAt = 16;
constexpr size_t kItemsAt = 32;
constexpr size_t kEntryBytes = 32;  // of both tables
constexpr uint32_t kMostItem = 1 << 20;
constexpr uint32_t kOfUser = 1;  // flags of an item
constexpr uint32_t kOfDisk = 2;
constexpr uint32_t kRequired = 4;
constexpr uint32_t kFixed = 1;  // of the file parameters
constexpr uint32_t kHasParent = 2;

// A GUID as it is stored; `d` is its last two groups.
constexpr Uuid guid(uint32_t a, uint32_t b, uint32_t c, uint64_t d) {
  Uuid bytes{};
  for (unsigned i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(a >> 8 * i);
  for (unsigned i = 0; i < 2; ++i) bytes[4 + i] = static_cast<std::byte>(b >> 8 * i);
  for (unsigned i = 0; i < 2; ++i) bytes[6 + i] = static_cast<std::byte>(c >> 8 * i);
  for (unsigned i = 0; i < 8; ++i) bytes[8 + i] = static_cast<std::byte>(d >> (56 - 8 * i));
  return bytes;
}

constexpr Uuid kBatGuid = guid(0x2dc27766, 0xf623, 0x4200, 0x9d64115e9bfd4a08);
constexpr Uuid kMetadataGuid = guid(0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe575f050f886e);
constexpr Uuid kLocatorType = guid(0xb04aefb7, 0xd19e, 0x4a81, 0xb78925b8e9445913);

struct KnownItem {
  std::string_view name;
  Uuid guid;
  uint32_t length;  // 0: it may differ, and the item may be missing
  uint32_t flags;
};
constexpr std::array<KnownItem, kItems> kKnownItems = {{
    {"file parameters", guid(0xcaa16737, 0xfa36, 0x4d43, 0xb3b633f0aa44e76b), 8, kRequired},
    {"size", guid(0x2fa54224, 0xcd1b, 0x4876, 0xb2115dbed83bf4b8), 8, kOfDisk | kRequired},
    {"logical sector size", guid(0x8141bf1d, 0xa96f, 0x4709, 0xba47f233a8faab5f), 4,
     kOfDisk | kRequired},
    {"physical sector size", guid(0xcda348c7, 0x445d, 0x4471, 0x9cc9e9885251c556), 4,
     kOfDisk | kRequired},
    {"disk id", guid(0xbeca12ab, 0xb2e6, 0x4523, 0x93efc309e000c746), 16, kOfDisk | kRequired},
    {"parent locator", guid(0xa8d35f2d, 0xb30b, 0x454d, 0xabf7d3d84834ab0c), 0, kRequired},
}};

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

std::string text_of(const Uuid& uuid) {
  return fmt::format("{{{}}}", uuid_text(uuid, UuidOrder::kGuid));
}

bool begins_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

void put_text(std::vector<std::byte>& bytes, size_t at, std::string_view text) {
  std::memcpy(bytes.data() + at, text.data(), text.size());
}

void put_uuid(std::vector<std::byte>& bytes, size_t at, const Uuid& uuid) {
  std::copy(uuid.begin(), uuid.end(), bytes.begin() + static_cast<ptrdiff_t>(at));
}

void put_checksum(std::vector<std::byte>& bytes) {
  store_le(bytes.data() + kChecksumAt, checksum_of(bytes));
}

// Of what is called `what`.
Result<void> check_sum(std::span<const std::byte> bytes, std::string_view magic,
                       std::string_view what) {
  if (!begins_with(bytes, magic)) return broken(fmt::format("{} is not there", what));
  if (load_le<uint32_t>(bytes.data() + kChecksumAt) != checksum_of(bytes)) {
    return broken(fmt::format("{} has a wrong checksum", what));
  }
  return {};
}

Result<void> check_region(const Region& region, std::string_view name) {
  const auto end = checked_add(region.offset, region.length);
  if (region.offset >= kAlign && region.offset % kAlign == 0 && region.length > 0 &&
      region.length % kAlign == 0 && end && *end <= kMaxFileSize) {
    return {};
  }
  return broken(fmt::format("its {}, {} bytes at byte {}, is impossible", name, region.length,
                            region.offset));
}

Result<void> check(const Metadata& metadata) {
  if (!std::has_single_bit(metadata.block_size) || metadata.block_size < kLeastBlock ||
      metadata.block_size > kMostBlock) {
    return broken(fmt::format("its blocks of {} bytes are impossible", metadata.block_size));
  }
  if (metadata.logical_sector != 512 && metadata.logical_sector != 4096) {
    return broken(fmt::format("its sectors of {} bytes are impossible", metadata.logical_sector));
  }
  if (metadata.size > kMostSize || metadata.size % metadata.logical_sector != 0) {
    return broken(fmt::format("its size of {} bytes is impossible", metadata.size));
  }
  return {};
}

// The item that an entry is of, if it is known.
std::optional<size_t> known_item(const Uuid& uuid) {
  for (size_t i = 0; i < kItems; ++i) {
    if (kKnownItems[i].guid == uuid) return i;
  }
  return std::nullopt;
}

Result<void> check_item(const KnownItem& known, const Region& place, uint64_t region_length) {
  const bool fits = place.offset >= kMetadataTableBytes && place.offset <= region_length &&
                    place.length <= region_length - place.offset && place.length <= kMostItem;
  const bool is_right = known.length == 0 ? place.length > 0 : place.length == known.length;
  if (fits && is_right) return {};
  return broken(fmt::format("its {}, {} bytes at byte {} of the metadata, is impossible",
                            known.name, place.length, place.offset));
}

// A path of Windows' as one of ours. What is no path from the folder of the image on is cut to its
// last part.
std::string path_of(std::string path, bool is_relative) {
  std::replace(path.begin(), path.end(), '\\', '/');
  const bool leaves = path.starts_with('/') || path.find(':') != std::string::npos;
  if (!is_relative || leaves) return path.substr(path.rfind('/') + 1);
  return path.starts_with("./") ? path.substr(2) : path;
}

// "{...}" in lower case. Errors: kCorruption.
Result<std::string> guid_of(std::string_view key, std::string text) {
  constexpr std::string_view kForm = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
  bool fits = text.size() == kForm.size();
  for (size_t i = 0; fits && i < text.size(); ++i) {
    if (text[i] >= 'A' && text[i] <= 'F') text[i] = static_cast<char>(text[i] - 'A' + 'a');
    const bool is_digit = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    fits = kForm[i] == 'x' ? is_digit : text[i] == kForm[i];
  }
  if (fits) return text;
  return broken(fmt::format("its {} '{}' is no GUID", key, excerpt(text)));
}

// Those keys of a locator that are known, with their values. Errors: kCorruption.
Result<std::map<std::string, std::string>> locator_values(std::span<const std::byte> bytes) {
  constexpr size_t kFirstAt = 20;
  constexpr size_t kLength = 12;
  constexpr size_t kLongestKey = 64;  // bytes; those that are known have fewer
  constexpr auto kKeys = std::to_array<std::string_view>(
      {"parent_linkage", "parent_linkage2", "relative_path", "volume_path", "absolute_win32_path"});
  std::map<std::string, std::string> values;
  const size_t count = load_le<uint16_t>(bytes.data() + 18);
  if (bytes.size() < kFirstAt + count * kLength) return broken("its parent locator is cut off");
  for (size_t i = 0; i < count; ++i) {
    const std::byte* const entry = bytes.data() + kFirstAt + i * kLength;
    const uint64_t key_at = load_le<uint32_t>(entry);
    const uint64_t value_at = load_le<uint32_t>(entry + 4);
    const uint64_t key_length = load_le<uint16_t>(entry + 8);
    const uint64_t value_length = load_le<uint16_t>(entry + 10);
    if (key_at + key_length > bytes.size() || value_at + value_length > bytes.size()) {
      return broken("an entry of its parent locator is cut off");
    }
    if (key_length > kLongestKey) continue;
    const std::string key = utf8_of_utf16(bytes.subspan(key_at, key_length));
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) continue;
    const auto value = bytes.subspan(value_at, value_length);
    if (!values.emplace(key, utf8_of_utf16(value)).second) {
      return broken(fmt::format("its parent locator has several {}", key));
    }
  }
  return values;
}

}  // namespace

uint64_t Metadata::entries() const {
  if (has_parent) return div_round_up(blocks(), chunk_ratio()) * (chunk_ratio() + 1);
  return blocks() == 0 ? 0 : blocks() + (blocks() - 1) / chunk_ratio();
}

bool has_magic(std::span<const std::byte> head) { return begins_with(head, kFileMagic); }

std::vector<std::byte> encode_start() {
  constexpr size_t kCreatorBytes = 512;
  std::vector<std::byte> bytes(kFileMagic.size() + kCreatorBytes);
  put_text(bytes, 0, kFileMagic);
  for (size_t i = 0; i < kCreator.size(); ++i) {
    bytes[kFileMagic.size() + 2 * i] = static_cast<std::byte>(kCreator[i]);  // UTF-16
  }
  return bytes;
}

uint32_t checksum_of(std::span<const std::byte> bytes) {
  constexpr std::array<std::byte, 4> kNone{};
  return crc32c(bytes.subspan(kChecksumAt + kNone.size()),
                crc32c(kNone, crc32c(bytes.first(kChecksumAt))));
}

Result<Header> parse_header(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kHeaderBytes);
  SNAP_TRY(check_sum(bytes, kHeaderMagic, "a header"));
  const uint32_t version = load_le<uint16_t>(bytes.data() + 66);
  if (version != kVersion) {
    return Error(ErrorCode::kUnsupported, fmt::format("version {} of VHDX is not read", version));
  }
  Header header;
  header.sequence = load_le<uint64_t>(bytes.data() + 8);
  header.file_write = uuid_at(bytes, 16);
  header.data_write = uuid_at(bytes, 32);
  header.log = uuid_at(bytes, 48);
  header.log_version = load_le<uint16_t>(bytes.data() + 64);
  header.log_length = load_le<uint32_t>(bytes.data() + 68);
  header.log_offset = load_le<uint64_t>(bytes.data() + 72);
  return header;
}

std::vector<std::byte> encode_header(const Header& header) {
  std::vector<std::byte> bytes(kHeaderBytes);
  put_text(bytes, 0, kHeaderMagic);
  store_le(bytes.data() + 8, header.sequence);
  put_uuid(bytes, 16, header.file_write);
  put_uuid(bytes, 32, header.data_write);
  put_uuid(bytes, 48, header.log);
  store_le(bytes.data() + 64, static_cast<uint16_t>(header.log_version));
  store_le(bytes.data() + 66, static_cast<uint16_t>(kVersion));
  store_le(bytes.data() + 68, static_cast<uint32_t>(header.log_length));
  store_le(bytes.data() + 72, header.log_offset);
  put_checksum(bytes);
  return bytes;
}

Result<Regions> parse_regions(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kRegionTableBytes);
  SNAP_TRY(check_sum(bytes, kRegionMagic, "a table of regions"));
  const size_t count = load_le<uint32_t>(bytes.data() + 8);
  if (count > kMostEntries) return broken(fmt::format("{} regions are impossible", count));
  Regions regions;
  for (size_t i = 0; i < count; ++i) {
    const auto entry = bytes.subspan(kRegionsAt + i * kEntryBytes, kEntryBytes);
    const Uuid uuid = uuid_at(entry, 0);
    const Region region{load_le<uint64_t>(entry.data() + 16), load_le<uint32_t>(entry.data() + 24)};
    if (uuid != kBatGuid && uuid != kMetadataGuid) {
      if ((load_le<uint32_t>(entry.data() + 28) & 1U) == 0) continue;
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("it has a region {}, which is required and not known", text_of(uuid)));
    }
    const bool is_bat = uuid == kBatGuid;
    const std::string_view name = is_bat ? "block table" : "metadata region";
    SNAP_TRY(check_region(region, name));
    Region& known = is_bat ? regions.bat : regions.metadata;
    if (known.length != 0) return broken(fmt::format("it has a second {}", name));
    known = region;
  }
  if (regions.bat.length == 0) return broken("it has no block table");
  if (regions.metadata.length == 0) return broken("it has no metadata region");
  const bool overlap = regions.bat.offset < regions.metadata.offset + regions.metadata.length &&
                       regions.metadata.offset < regions.bat.offset + regions.bat.length;
  if (overlap) return broken("its block table and its metadata overlap");
  return regions;
}

std::vector<std::byte> encode_regions(const Regions& regions) {
  std::vector<std::byte> bytes(kRegionTableBytes);
  put_text(bytes, 0, kRegionMagic);
  store_le(bytes.data() + 8, uint32_t{2});
  const auto put = [&](size_t index, const Uuid& uuid, const Region& region) {
    const size_t at = kRegionsAt + index * kEntryBytes;
    put_uuid(bytes, at, uuid);
    store_le(bytes.data() + at + 16, region.offset);
    store_le(bytes.data() + at + 24, static_cast<uint32_t>(region.length));
    store_le(bytes.data() + at + 28, uint32_t{1});
  };
  put(0, kBatGuid, regions.bat);
  put(1, kMetadataGuid, regions.metadata);
  put_checksum(bytes);
  return bytes;
}

Result<ItemPlaces> parse_item_places(std::span<const std::byte> bytes, uint64_t region_length) {
  SNAP_CHECK(bytes.size() == kMetadataTableBytes);
  if (!begins_with(bytes, kMetadataMagic)) return broken("its metadata are not there");
  const size_t count = load_le<uint16_t>(bytes.data() + 10);
  if (count > kMostEntries) return broken(fmt::format("{} metadata items are impossible", count));
  ItemPlaces places;
  for (size_t i = 0; i < count; ++i) {
    const auto entry = bytes.subspan(kItemsAt + i * kEntryBytes, kEntryBytes);
    const Uuid uuid = uuid_at(entry, 0);
    const Region place{load_le<uint32_t>(entry.data() + 16), load_le<uint32_t>(entry.data() + 20)};
    const uint32_t flags = load_le<uint32_t>(entry.data() + 24);
    const auto item = (flags & kOfUser) == 0 ? known_item(uuid) : std::nullopt;
    if (!item) {
      if ((flags & kRequired) == 0) continue;
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("it has a metadata item {}, which is required and not known", text_of(uuid)));
    }
    const KnownItem& known = kKnownItems[*item];
    SNAP_TRY(check_item(known, place, region_length));
    if (places[*item].length != 0) return broken(fmt::format("it has a second {}", known.name));
    places[*item] = place;
  }
  for (size_t i = 0; i < kItems; ++i) {
    if (places[i].length == 0 && kKnownItems[i].length != 0) {
      return broken(fmt::format("it has no {}", kKnownItems[i].name));
    }
  }
  return places;
}

Result<Metadata> parse_metadata(const ItemBytes& items) {
  const auto bytes_of = [&](Item item) { return items[static_cast<size_t>(item)].data(); };
  const std::byte* const parameters = bytes_of(Item::kFileParameters);
  const uint32_t flags = load_le<uint32_t>(parameters + 4);
  Metadata metadata;
  metadata.block_size = load_le<uint32_t>(parameters);
  metadata.fixed = (flags & kFixed) != 0;
  metadata.has_parent = (flags & kHasParent) != 0;
  metadata.size = load_le<uint64_t>(bytes_of(Item::kSize));
  metadata.logical_sector = load_le<uint32_t>(bytes_of(Item::kLogicalSector));
  metadata.physical_sector = load_le<uint32_t>(bytes_of(Item::kPhysicalSector));
  metadata.disk_id = uuid_at(items[static_cast<size_t>(Item::kDiskId)], 0);
  SNAP_TRY(check(metadata));
  if (metadata.has_parent && items[static_cast<size_t>(Item::kParent)].empty()) {
    return broken("it has a parent, and no parent locator");
  }
  return metadata;
}

std::vector<std::byte> encode_metadata(const Metadata& metadata) {
  ItemBytes items;
  for (size_t i = 0; i < kItems; ++i) items[i].resize(kKnownItems[i].length);
  const auto bytes_of = [&](Item item) { return items[static_cast<size_t>(item)].data(); };
  store_le(bytes_of(Item::kFileParameters), static_cast<uint32_t>(metadata.block_size));
  store_le(bytes_of(Item::kFileParameters) + 4, metadata.fixed ? kFixed : 0);
  store_le(bytes_of(Item::kSize), metadata.size);
  store_le(bytes_of(Item::kLogicalSector), static_cast<uint32_t>(metadata.logical_sector));
  store_le(bytes_of(Item::kPhysicalSector), static_cast<uint32_t>(metadata.physical_sector));
  put_uuid(items[static_cast<size_t>(Item::kDiskId)], 0, metadata.disk_id);

  std::vector<std::byte> bytes(kMetadataTableBytes);
  put_text(bytes, 0, kMetadataMagic);
  uint16_t count = 0;
  for (size_t i = 0; i < kItems; ++i) {
    if (items[i].empty()) continue;
    const size_t at = kItemsAt + count++ * kEntryBytes;
    put_uuid(bytes, at, kKnownItems[i].guid);
    store_le(bytes.data() + at + 16, static_cast<uint32_t>(bytes.size()));
    store_le(bytes.data() + at + 20, static_cast<uint32_t>(items[i].size()));
    store_le(bytes.data() + at + 24, kKnownItems[i].flags);
    bytes.insert(bytes.end(), items[i].begin(), items[i].end());
  }
  store_le(bytes.data() + 10, count);
  return bytes;
}

Result<ParentLocator> parse_parent_locator(std::span<const std::byte> bytes) {
  if (bytes.size() < 20) return broken("its parent locator is cut off");
  if (uuid_at(bytes, 0) != kLocatorType) {
    return Error(ErrorCode::kUnsupported, fmt::format("a parent locator of type {} is not read",
                                                      text_of(uuid_at(bytes, 0))));
  }
  SNAP_ASSIGN(const auto values, locator_values(bytes));
  ParentLocator locator;
  const std::string none = identity_of(Uuid{});
  for (const std::string_view key : {"parent_linkage", "parent_linkage2"}) {
    const auto value = values.find(std::string(key));
    if (value == values.end()) continue;
    SNAP_ASSIGN(const std::string text, guid_of(key, value->second));
    const std::string identity = fmt::format("data write GUID {}", text);
    // A second one of zeros is none.
    if (key == "parent_linkage" || identity != none) locator.identities.push_back(identity);
  }
  if (values.count("parent_linkage") == 0)
    return broken("its parent locator has no parent_linkage");
  for (const std::string_view key : {"relative_path", "volume_path", "absolute_win32_path"}) {
    const auto value = values.find(std::string(key));
    if (value == values.end()) continue;
    std::string name = path_of(value->second, key == "relative_path");
    auto& names = locator.names;
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return locator;
}

BatEntry decode_entry(uint64_t entry) {
  return {static_cast<BlockState>(entry & 7U), (entry >> 20U) * kMiB};
}

uint64_t encode_entry(const BatEntry& entry) {
  return entry.offset | static_cast<uint64_t>(entry.state);
}

std::string identity_of(const Uuid& data_write) {
  return fmt::format("data write GUID {}", text_of(data_write));
}

}  // namespace snaptool::vhdx
