// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/common/file_facts.h"
#include "formats/common/utf16.h"
#include "libsnap/base/endian.h"

namespace snaptool::hfsplus {
namespace {

constexpr uint16_t kHfs = 0x4244;        // "BD"
constexpr uint16_t kHfsPlus = 0x482b;    // "H+"
constexpr uint16_t kHfsX = 0x4858;       // "HX"
constexpr int64_t kEpoch = -2082844800;  // 1904, in seconds since 1970
constexpr uint32_t kMostBlock = 1U << 30U;
constexpr size_t kMostName = 255;  // units of UTF-16

uint16_t u16(Bytes bytes, size_t at) { return load_be<uint16_t>(bytes.data() + at); }
uint32_t u32(Bytes bytes, size_t at) { return load_be<uint32_t>(bytes.data() + at); }
uint64_t u64(Bytes bytes, size_t at) { return load_be<uint64_t>(bytes.data() + at); }

std::optional<access::FileTime> time_at(Bytes bytes, size_t at) {
  const uint32_t seconds = u32(bytes, at);
  if (seconds == 0) return std::nullopt;
  return access::FileTime{kEpoch + seconds, 0};
}

int compare_numbers(uint64_t a, uint64_t b) { return a < b ? -1 : a > b ? 1 : 0; }

bool is_in(uint16_t c, uint16_t first, uint16_t last) { return c >= first && c <= last; }

// Of the blocks whose upper case lies elsewhere, letter by letter.
uint16_t fold_latin(uint16_t c) {
  struct Pair {
    uint16_t from, to;
  };
  constexpr auto kPairs = std::to_array<Pair>({
      {0xc6, 0xe6},   {0xd0, 0xf0},   {0xd8, 0xf8},   {0xde, 0xfe},   {0x110, 0x111},
      {0x126, 0x127}, {0x132, 0x133}, {0x13f, 0x140}, {0x141, 0x142}, {0x14a, 0x14b},
      {0x152, 0x153}, {0x166, 0x167}, {0x181, 0x253}, {0x182, 0x183}, {0x184, 0x185},
      {0x186, 0x254}, {0x187, 0x188}, {0x189, 0x256}, {0x18a, 0x257}, {0x18b, 0x18c},
      {0x18e, 0x1dd}, {0x18f, 0x259}, {0x190, 0x25b}, {0x191, 0x192}, {0x193, 0x260},
      {0x194, 0x263}, {0x196, 0x269}, {0x197, 0x268}, {0x198, 0x199}, {0x19c, 0x26f},
      {0x19d, 0x272}, {0x19f, 0x275}, {0x1a2, 0x1a3}, {0x1a4, 0x1a5}, {0x1a7, 0x1a8},
      {0x1a9, 0x283}, {0x1ac, 0x1ad}, {0x1ae, 0x288}, {0x1b1, 0x28a}, {0x1b2, 0x28b},
      {0x1b3, 0x1b4}, {0x1b5, 0x1b6}, {0x1b7, 0x292}, {0x1b8, 0x1b9}, {0x1bc, 0x1bd},
      {0x1c4, 0x1c6}, {0x1c5, 0x1c6}, {0x1c7, 0x1c9}, {0x1c8, 0x1c9}, {0x1ca, 0x1cc},
      {0x1cb, 0x1cc}, {0x1e4, 0x1e5}, {0x1f1, 0x1f3}, {0x1f2, 0x1f3},
  });
  const auto found =
      std::lower_bound(kPairs.begin(), kPairs.end(), c,
                       [](const Pair& pair, uint16_t key) { return pair.from < key; });
  return found != kPairs.end() && found->from == c ? found->to : c;
}

uint16_t fold_cyrillic(uint16_t c) {
  if (is_in(c, 0x400, 0x40f)) {
    // Letters that decompose stay.
    constexpr uint32_t kFolds = 0x8f74;  // bits: 2, 4, 5, 6, 8 to 11, 15
    return (kFolds >> (c - 0x400U) & 1U) != 0 ? static_cast<uint16_t>(c + 0x50) : c;
  }
  if (is_in(c, 0x410, 0x42f)) return c == 0x419 ? c : static_cast<uint16_t>(c + 0x20);
  if (c == 0x4c3 || c == 0x4c7 || c == 0x4cb) return static_cast<uint16_t>(c + 1);
  const bool paired = (is_in(c, 0x460, 0x480) && c != 0x476) || is_in(c, 0x490, 0x4be);
  return paired && c % 2 == 0 ? static_cast<uint16_t>(c + 1) : c;
}

// Of TN1150: what case does not tell apart; 0: it is passed over.
uint16_t fold(uint16_t c) {
  if (c == 0) return 0xffff;
  if (c < 0x80) return is_in(c, 'A', 'Z') ? static_cast<uint16_t>(c + 0x20) : c;
  if (c < 0x200) return fold_latin(c);
  if (is_in(c, 0x391, 0x3a9)) return c == 0x3a2 ? c : static_cast<uint16_t>(c + 0x20);
  if (is_in(c, 0x3e2, 0x3ee)) return static_cast<uint16_t>(c | 1U);
  if (is_in(c, 0x400, 0x4ff)) return fold_cyrillic(c);
  if (is_in(c, 0x531, 0x556)) return static_cast<uint16_t>(c + 0x30);
  if (is_in(c, 0x10a0, 0x10c5)) return static_cast<uint16_t>(c + 0x30);
  if (is_in(c, 0x200c, 0x200f) || is_in(c, 0x202a, 0x202e) || is_in(c, 0x206a, 0x206f)) return 0;
  if (is_in(c, 0x2160, 0x216f)) return static_cast<uint16_t>(c + 0x10);
  if (c == 0xfeff) return 0;
  return is_in(c, 0xff21, 0xff3a) ? static_cast<uint16_t>(c + 0x20) : c;
}

// The name in a key, from its length on: what there is of it.
Bytes name_in(Bytes key, size_t at) {
  if (key.size() < at + 2) return {};
  const size_t bytes = size_t{u16(key, at)} * 2;
  return key.subspan(at + 2, std::min(bytes, (key.size() - at - 2) & ~size_t{1}));
}

int compare_units(Bytes a, Bytes b) {
  // Big-endian units are in the order of their bytes.
  const size_t common = std::min(a.size(), b.size());
  const int order = common == 0 ? 0 : std::memcmp(a.data(), b.data(), common);
  return order != 0 ? order : compare_numbers(a.size(), b.size());
}

// The next unit that counts; 0 at the end.
uint16_t next_folded(Bytes name, size_t& at) {
  while (at < name.size()) {
    const uint16_t c = fold(u16(name, at));
    at += 2;
    if (c != 0) return c;
  }
  return 0;
}

uint32_t number_at(Bytes key, size_t at) { return key.size() < at + 4 ? 0 : u32(key, at); }

}  // namespace

bool is_hfs(Bytes header) {
  if (header.size() < kHeaderBytes || u16(header, 0) != kHfs) return false;
  constexpr size_t kMostHfsName = 27;
  const uint32_t block = u32(header, 20);
  return block != 0 && block % 512 == 0 && std::to_integer<size_t>(header[36]) <= kMostHfsName;
}

bool has_magic(Bytes head) {
  if (head.size() < kHeaderAt + kHeaderBytes) return false;
  const Bytes header = head.subspan(kHeaderAt, kHeaderBytes);
  return u16(header, 0) == kHfsPlus || u16(header, 0) == kHfsX || is_hfs(header);
}

std::optional<uint64_t> embedded_volume(Bytes header) {
  const uint16_t inner = u16(header, 124);
  if (inner != kHfsPlus && inner != kHfsX) return std::nullopt;
  return uint64_t{u16(header, 28)} * 512 + uint64_t{u16(header, 126)} * u32(header, 20);
}

Extents parse_extents(Bytes bytes) {
  Extents extents;
  for (size_t i = 0; i < extents.size(); ++i)
    extents[i] = {u32(bytes, 8 * i), u32(bytes, 8 * i + 4)};
  return extents;
}

Fork parse_fork(Bytes bytes) {
  return {u64(bytes, 0), u32(bytes, 12), parse_extents(bytes.subspan(16))};
}

Result<VolumeHeader> parse_header(Bytes header) {
  VolumeHeader volume;
  const uint16_t signature = u16(header, 0);
  if (signature != kHfsPlus && signature != kHfsX) return damaged("the magic of HFS+ is missing");
  volume.is_hfsx = signature == kHfsX;
  const uint16_t version = u16(header, 2);
  if (version != (volume.is_hfsx ? 5 : 4)) {
    return Error(ErrorCode::kUnsupported, fmt::format("version {} of HFS+ is not read", version));
  }
  volume.attributes = u32(header, 4);
  volume.journal_block = u32(header, 12);
  volume.block_size = u32(header, 40);
  volume.blocks = u32(header, 44);
  if (!std::has_single_bit(volume.block_size) || volume.block_size < 512 ||
      volume.block_size > kMostBlock) {
    return damaged(fmt::format("blocks of {} bytes are impossible", volume.block_size));
  }
  std::copy_n(header.begin() + 104, 8, volume.identifier.begin());
  volume.allocation = parse_fork(header.subspan(112));
  volume.extents = parse_fork(header.subspan(192));
  volume.catalog = parse_fork(header.subspan(272));
  volume.attributes_file = parse_fork(header.subspan(352));
  volume.startup = parse_fork(header.subspan(432));
  return volume;
}

access::NodeType CatalogRecord::type() const {
  using access::NodeType;
  if (is_folder) return NodeType::kFolder;
  if (is_folder_link()) return NodeType::kLink;
  const NodeType said = type_of_mode(mode);
  return said == NodeType::kFolder || said == NodeType::kOther ? NodeType::kFile : said;
}

bool CatalogRecord::is_file_link() const {
  return !is_folder && std::memcmp(finder.data(), "hlnkhfs+", 8) == 0;
}

bool CatalogRecord::is_folder_link() const {
  return !is_folder && std::memcmp(finder.data(), "fdrpMACS", 8) == 0;
}

uint16_t record_type(Bytes data) { return data.size() < 2 ? 0 : u16(data, 0); }

Result<CatalogRecord> parse_record(Bytes key, Bytes data) {
  constexpr size_t kFolderBytes = 88;
  constexpr size_t kFileBytes = 248;
  CatalogRecord record;
  record.is_folder = record_type(data) == kFolderRecord;
  if (key.size() < 6 || data.size() < (record.is_folder ? kFolderBytes : kFileBytes)) {
    return damaged(fmt::format("a record of the catalog has {} bytes", data.size()));
  }
  record.parent = u32(key, 0);
  const Bytes name = name_in(key, 4);
  record.name.assign(name.begin(), name.end());
  record.flags = u16(data, 2);
  record.id = u32(data, 8);
  record.created = time_at(data, 12);
  record.modified = time_at(data, 16);
  record.changed = time_at(data, 20);
  record.accessed = time_at(data, 24);
  record.owner = u32(data, 32);
  record.group = u32(data, 36);
  record.admin_flags = std::to_integer<uint8_t>(data[40]);
  record.owner_flags = std::to_integer<uint8_t>(data[41]);
  record.mode = u16(data, 42);
  record.special = u32(data, 44);
  std::copy_n(data.begin() + 48, 32, record.finder.begin());
  record.encoding = u32(data, 80);
  if (!record.is_folder) {
    record.data = parse_fork(data.subspan(88));
    record.resource = parse_fork(data.subspan(168));
  }
  if (name.empty() || name.size() != size_t{u16(key, 4)} * 2 || name.size() > 2 * kMostName) {
    return damaged(fmt::format("node {} has an impossible name", record.id));
  }
  if (record.id != kRootFolder && record.id < kFirstUserId) {
    return damaged(fmt::format("a file or folder has the number {}", record.id));
  }
  return record;
}

Result<std::vector<std::byte>> parse_thread(Bytes data) {
  const Bytes name = name_in(data, 8);
  if (data.size() < 10 || name.size() != size_t{u16(data, 8)} * 2) {
    return damaged("a thread of the catalog has an impossible name");
  }
  return catalog_key(u32(data, 4), name);
}

std::vector<std::byte> catalog_key(uint32_t parent, Bytes name) {
  std::vector<std::byte> key(6 + name.size());
  store_be(key.data(), parent);
  store_be(key.data() + 4, static_cast<uint16_t>(name.size() / 2));
  std::copy(name.begin(), name.end(), key.begin() + 6);
  return key;
}

std::vector<std::byte> utf16_name(std::u16string_view name) {
  std::vector<std::byte> bytes(name.size() * 2);
  for (size_t i = 0; i < name.size(); ++i) {
    store_be(bytes.data() + 2 * i, static_cast<uint16_t>(name[i]));
  }
  return bytes;
}

int compare_folded(Bytes a, Bytes b) {
  const int parents = compare_numbers(number_at(a, 0), number_at(b, 0));
  if (parents != 0) return parents;
  const Bytes name_a = name_in(a, 4);
  const Bytes name_b = name_in(b, 4);
  for (size_t at_a = 0, at_b = 0;;) {
    const uint16_t unit_a = next_folded(name_a, at_a);
    const uint16_t unit_b = next_folded(name_b, at_b);
    if (unit_a != unit_b || unit_a == 0) return compare_numbers(unit_a, unit_b);
  }
}

int compare_catalog_exactly(Bytes a, Bytes b) {
  const int parents = compare_numbers(number_at(a, 0), number_at(b, 0));
  return parents != 0 ? parents : compare_units(name_in(a, 4), name_in(b, 4));
}

int compare_extents(Bytes a, Bytes b) {
  if (a.size() < 10 || b.size() < 10) return compare_numbers(a.size(), b.size());
  const int ids = compare_numbers(u32(a, 2), u32(b, 2));
  if (ids != 0) return ids;
  const int forks =
      compare_numbers(std::to_integer<unsigned>(a[0]), std::to_integer<unsigned>(b[0]));
  return forks != 0 ? forks : compare_numbers(u32(a, 6), u32(b, 6));
}

int compare_attributes(Bytes a, Bytes b) {
  const int ids = compare_numbers(number_at(a, 2), number_at(b, 2));
  if (ids != 0) return ids;
  const int names = compare_units(name_in(a, 10), name_in(b, 10));
  return names != 0 ? names : compare_numbers(number_at(a, 6), number_at(b, 6));
}

std::string name_text(Bytes utf16) {
  std::string text;
  for (const char c : wtf8_of_utf16(utf16, true)) {
    if (c == '\0') {
      text += "\xe2\x90\x80";
    } else {
      text += c == '/' ? ':' : c;
    }
  }
  return text;
}

}  // namespace snaptool::hfsplus
