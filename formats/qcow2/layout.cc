// SPDX-License-Identifier: Apache-2.0
#include "formats/qcow2/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::qcow2 {
namespace {

constexpr size_t kVersion2Length = 72;
constexpr size_t kLeastVersion3Length = 104;
constexpr uint32_t kMostBackingName = 1023;

constexpr uint64_t kDirtyBit = 1U << 0U;
constexpr uint64_t kCorruptBit = 1U << 1U;
constexpr uint64_t kDataFileBit = 1U << 2U;
constexpr uint64_t kCompressionBit = 1U << 3U;
constexpr uint64_t kExtendedL2Bit = 1U << 4U;
constexpr uint64_t kKnownBits =
    kDirtyBit | kCorruptBit | kDataFileBit | kCompressionBit | kExtendedL2Bit;
constexpr uint64_t kLazyRefcountsBit = 1U << 0U;
constexpr uint64_t kBitmapsBit = 1U << 0U;

constexpr uint32_t kEndExtension = 0;
constexpr uint32_t kBackingFormat = 0xe2792aca;
constexpr uint32_t kFeatureNames = 0x6803f857;
constexpr uint32_t kBitmaps = 0x23852875;
constexpr size_t kFeatureNameSize = 48;

constexpr size_t kBitmapEntry = 24;  // bytes, in front of its name
constexpr uint32_t kBitmapInUse = 1U << 0U;
constexpr uint32_t kBitmapAutomatic = 1U << 1U;

constexpr uint64_t kCompressedFlag = uint64_t{1} << 62U;
constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;

Error damaged(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }
Error unsupported(std::string what) { return {ErrorCode::kUnsupported, std::move(what)}; }

std::string text_of(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += static_cast<char>(byte);
  return text;
}

struct Extension {
  uint32_t type = kEndExtension;
  std::span<const std::byte> data;
};

// Those between the header and `end`, where the first cluster or the backing name is.
Result<std::vector<Extension>> extensions_of(std::span<const std::byte> first, size_t start,
                                             size_t end) {
  std::vector<Extension> extensions;
  for (size_t at = start; at + 8 <= end;) {
    const auto type = load_be<uint32_t>(first.data() + at);
    const auto length = load_be<uint32_t>(first.data() + at + 4);
    if (type == kEndExtension) break;
    at += 8;
    if (length > end - at) {
      return damaged(
          fmt::format("header extension {:#010x} has {} bytes: it passes the header's "
                      "cluster",
                      type, length));
    }
    extensions.push_back({type, first.subspan(at, length)});
    at += (size_t{length} + 7) / 8 * 8;
  }
  return extensions;
}

// "bit 9 ('name')", for messages.
std::string feature_name(const std::vector<Extension>& extensions, unsigned bit) {
  for (const Extension& extension : extensions) {
    if (extension.type != kFeatureNames) continue;
    for (size_t at = 0; at + kFeatureNameSize <= extension.data.size(); at += kFeatureNameSize) {
      const auto entry = extension.data.subspan(at, kFeatureNameSize);
      if (entry[0] != std::byte{0} || entry[1] != static_cast<std::byte>(bit)) continue;
      const std::string name = text_of(entry.subspan(2));
      return fmt::format("bit {} ('{}')", bit, name.c_str());
    }
  }
  return fmt::format("bit {}", bit);
}

Result<void> check_features(uint64_t incompatible, const std::vector<Extension>& extensions) {
  if ((incompatible & kDataFileBit) != 0) {
    return unsupported("its data are in another file (an external data file)");
  }
  const uint64_t unknown = incompatible & ~kKnownBits;
  if (unknown == 0) return {};
  std::string names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((unknown >> bit & 1U) == 0) continue;
    names += (names.empty() ? "" : ", ") + feature_name(extensions, bit);
  }
  return unsupported(fmt::format("it needs features that are not known here: {}", names));
}

// What version 3 has behind the fields of version 2. Returns the header's length.
Result<size_t> parse_version_3(std::span<const std::byte> first, Header& header,
                               uint64_t& incompatible, uint64_t& autoclear) {
  if (first.size() < kLeastVersion3Length) return damaged("the header is cut off");
  incompatible = load_be<uint64_t>(first.data() + 72);
  header.lazy_refcounts = (load_be<uint64_t>(first.data() + 80) & kLazyRefcountsBit) != 0;
  autoclear = load_be<uint64_t>(first.data() + 88);
  const auto order = load_be<uint32_t>(first.data() + 96);
  if (order > 6) return damaged(fmt::format("refcounts of 2^{} bits are impossible", order));
  header.refcount_bits = 1U << order;
  const auto length = load_be<uint32_t>(first.data() + 100);
  if (length < kLeastVersion3Length || length % 8 != 0 || length > first.size()) {
    return damaged(fmt::format("a header of {} bytes is impossible", length));
  }
  header.dirty = (incompatible & kDirtyBit) != 0;
  header.corrupt = (incompatible & kCorruptBit) != 0;
  header.extended_l2 = (incompatible & kExtendedL2Bit) != 0;
  const unsigned type = length > 104 ? static_cast<unsigned>(first[104]) : 0;
  if (type > 1) return unsupported(fmt::format("compression type {} is not known here", type));
  header.compression = type == 1 ? Compression::kZstd : Compression::kZlib;
  if ((type != 0) != ((incompatible & kCompressionBit) != 0)) {
    return damaged("the compression type and its feature bit do not agree");
  }
  return length;
}

Result<void> parse_backing_name(std::span<const std::byte> first, Header& header, size_t& end) {
  const auto offset = load_be<uint64_t>(first.data() + 8);
  const auto length = load_be<uint32_t>(first.data() + 16);
  if (offset == 0) return {};
  if (length > kMostBackingName || offset > first.size() || length > first.size() - offset) {
    return damaged(
        fmt::format("its backing file's name, {} bytes at byte {}, is impossible", length, offset));
  }
  header.backing_name = text_of(first.subspan(offset, length));
  end = std::min<size_t>(end, offset);
  return {};
}

Result<void> take_extensions(const std::vector<Extension>& extensions, uint64_t autoclear,
                             Header& header) {
  for (const Extension& extension : extensions) {
    if (extension.type == kBackingFormat) header.backing_format = text_of(extension.data);
    if (extension.type != kBitmaps || (autoclear & kBitmapsBit) == 0) continue;
    if (extension.data.size() < 24) return damaged("its bitmaps extension is too short");
    header.bitmaps = load_be<uint32_t>(extension.data.data());
    header.bitmap_directory_size = load_be<uint64_t>(extension.data.data() + 8);
    header.bitmap_directory_offset = load_be<uint64_t>(extension.data.data() + 16);
  }
  return {};
}

Mapping compressed(const Header& header, uint64_t entry) {
  const unsigned offset_bits = 62 - (header.cluster_bits - 8);
  Mapping mapping;
  mapping.kind = Mapping::Kind::kCompressed;
  mapping.offset = entry & ((uint64_t{1} << offset_bits) - 1);
  const uint64_t more_sectors = (entry & (kCompressedFlag - 1)) >> offset_bits;
  mapping.length = (more_sectors + 1) * kSectorSize - mapping.offset % kSectorSize;
  return mapping;
}

Result<uint64_t> offset_in(const Header& header, uint64_t entry, std::string_view what) {
  const uint64_t offset = entry & kOffsetMask;
  if (offset % header.cluster_size() != 0) {
    return damaged(fmt::format("{} at byte {} does not begin where a cluster does", what, offset));
  }
  return offset;
}

}  // namespace

bool has_magic(std::span<const std::byte> head) {
  // Version 1 ("qcow") has another header.
  return head.size() >= 4 && load_be<uint32_t>(head.data()) == kMagic &&
         (head.size() < 8 || load_be<uint32_t>(head.data() + 4) != 1);
}

Result<uint64_t> header_bytes(std::span<const std::byte> head) {
  const auto bits = load_be<uint32_t>(head.data() + 20);
  if (bits < kLeastClusterBits || bits > kMostClusterBits) {
    return damaged(fmt::format("clusters of 2^{} bytes are impossible", bits));
  }
  return uint64_t{1} << bits;
}

Result<Header> parse_header(std::span<const std::byte> first) {
  if (first.size() < kVersion2Length) return damaged("the header is cut off");
  Header header;
  header.version = load_be<uint32_t>(first.data() + 4);
  if (header.version != 2 && header.version != 3) {
    return unsupported(fmt::format("version {} is not read, only 2 and 3", header.version));
  }
  SNAP_ASSIGN(const uint64_t cluster, header_bytes(first));
  first = first.first(std::min<uint64_t>(first.size(), cluster));
  header.cluster_bits = load_be<uint32_t>(first.data() + 20);
  header.size = load_be<uint64_t>(first.data() + 24);
  header.l1_entries = load_be<uint32_t>(first.data() + 36);
  header.l1_offset = load_be<uint64_t>(first.data() + 40);
  header.snapshots = load_be<uint32_t>(first.data() + 60);
  header.snapshots_offset = load_be<uint64_t>(first.data() + 64);

  uint64_t incompatible = 0;
  uint64_t autoclear = 0;
  size_t length = kVersion2Length;
  if (header.version == 3) {
    SNAP_ASSIGN(length, parse_version_3(first, header, incompatible, autoclear));
  }
  size_t end = first.size();
  SNAP_TRY(parse_backing_name(first, header, end));
  SNAP_ASSIGN(const auto extensions, extensions_of(first, length, end));
  SNAP_TRY(check_features(incompatible, extensions));
  if (load_be<uint32_t>(first.data() + 32) != 0) return unsupported("it is encrypted");
  SNAP_TRY(take_extensions(extensions, autoclear, header));
  if (header.extended_l2 && header.cluster_bits < kLeastExtendedBits) {
    return damaged("extended L2 entries need clusters of 16 KiB or more");
  }
  SNAP_TRY(check_l1(header));
  return header;
}

Result<void> check_l1(const Header& header) {
  if (header.l1_entries > kMostL1Bytes / 8) {
    return damaged(fmt::format("an L1 table of {} entries is too large", header.l1_entries));
  }
  const uint64_t needed = div_round_up(header.size, header.l1_reach());
  if (header.l1_entries < needed) {
    return damaged(fmt::format("its L1 table has {} entries, but an image of {} bytes needs {}",
                               header.l1_entries, header.size, needed));
  }
  if (header.l1_entries > 0 &&
      (header.l1_offset == 0 || header.l1_offset % header.cluster_size() != 0)) {
    return damaged(fmt::format("its L1 table cannot lie at byte {}", header.l1_offset));
  }
  return {};
}

static void append_extension(std::vector<std::byte>& bytes, uint32_t type,
                             std::string_view content) {
  std::array<std::byte, 8> head{};
  store_be(head.data(), type);
  store_be(head.data() + 4, static_cast<uint32_t>(content.size()));
  bytes.insert(bytes.end(), head.begin(), head.end());
  const auto data = std::as_bytes(std::span(content));
  bytes.insert(bytes.end(), data.begin(), data.end());
  bytes.resize((bytes.size() + 7) / 8 * 8);
}

std::vector<std::byte> encode_header(const Header& header, uint64_t refcounts_offset,
                                     uint32_t refcounts_clusters) {
  constexpr size_t kLength = 112;
  std::vector<std::byte> bytes(kLength);
  const auto put = [&](size_t at, auto value) { store_be(bytes.data() + at, value); };
  const bool zstd = header.compression == Compression::kZstd;
  put(0, kMagic);
  put(4, uint32_t{3});
  put(20, uint32_t{header.cluster_bits});
  put(24, header.size);
  put(36, static_cast<uint32_t>(header.l1_entries));
  put(40, header.l1_offset);
  put(48, refcounts_offset);
  put(56, refcounts_clusters);
  put(72, (zstd ? kCompressionBit : 0) | (header.extended_l2 ? kExtendedL2Bit : 0));
  put(96, uint32_t{4});  // refcounts of 16 bits
  put(100, static_cast<uint32_t>(kLength));
  bytes[104] = std::byte{zstd};
  if (header.backing_format) append_extension(bytes, kBackingFormat, *header.backing_format);
  if (header.bitmaps > 0) {
    std::array<std::byte, 24> directory{};
    store_be(directory.data(), header.bitmaps);
    store_be(directory.data() + 8, header.bitmap_directory_size);
    store_be(directory.data() + 16, header.bitmap_directory_offset);
    append_extension(bytes, kBitmaps,
                     {reinterpret_cast<const char*>(directory.data()), directory.size()});
    put(88, kBitmapsBit);
  }
  append_extension(bytes, kEndExtension, {});
  if (!header.backing_name.empty()) {
    put(8, uint64_t{bytes.size()});
    put(16, static_cast<uint32_t>(header.backing_name.size()));
    const auto name = std::as_bytes(std::span(header.backing_name));
    bytes.insert(bytes.end(), name.begin(), name.end());
  }
  return bytes;
}

Result<void> check_encodes(const Header& header) {
  if (header.backing_name.size() <= kMostBackingName &&
      encode_header(header, 0, 0).size() <= header.cluster_size()) {
    return {};
  }
  return unsupported(
      fmt::format("the name of the base, '{}', is too long for the image", header.backing_name));
}

uint64_t encode_compressed(const Header& header, uint64_t offset, uint64_t length) {
  const unsigned offset_bits = 62 - (header.cluster_bits - 8);
  const uint64_t more_sectors = (offset + length - 1) / kSectorSize - offset / kSectorSize;
  return kCompressedFlag | more_sectors << offset_bits | offset;
}

Result<uint64_t> decode_l1(const Header& header, uint64_t entry) {
  return offset_in(header, entry, "the L2 table");
}

Result<Mapping> decode_l2(const Header& header, uint64_t entry, uint64_t bitmap,
                          uint64_t subcluster) {
  if ((entry & kCompressedFlag) != 0) return compressed(header, entry);
  SNAP_ASSIGN(const uint64_t offset, offset_in(header, entry, "the cluster"));
  Mapping mapping;
  if (!header.extended_l2) {
    const bool zero = (entry & kZeroFlag) != 0;
    if (zero && header.version < 3) return damaged("version 2 has no clusters of zeros");
    mapping.kind = zero          ? Mapping::Kind::kZero
                   : offset == 0 ? Mapping::Kind::kUnallocated
                                 : Mapping::Kind::kData;
    mapping.offset = offset;
    return mapping;
  }
  const uint64_t allocated = bitmap & UINT32_MAX;
  const uint64_t zeros = bitmap >> 32U;
  if ((allocated & zeros) != 0 || (offset == 0 && allocated != 0)) {
    return damaged(fmt::format("the bitmap of subclusters {:#x} contradicts itself", bitmap));
  }
  if ((zeros >> subcluster & 1U) != 0) {
    mapping.kind = Mapping::Kind::kZero;
  } else if ((allocated >> subcluster & 1U) != 0) {
    mapping.kind = Mapping::Kind::kData;
    mapping.offset = offset + subcluster * header.unit_size();
  }
  return mapping;
}

std::optional<SnapshotEntry> take_snapshot(std::span<const std::byte>& bytes, uint64_t image_size) {
  constexpr size_t kFixed = 40;
  if (bytes.size() < kFixed) return std::nullopt;
  const auto id_length = load_be<uint16_t>(bytes.data() + 12);
  const auto name_length = load_be<uint16_t>(bytes.data() + 14);
  const auto extra_length = load_be<uint32_t>(bytes.data() + 36);
  const uint64_t length = kFixed + uint64_t{extra_length} + id_length + name_length;
  if (length > bytes.size()) return std::nullopt;
  SnapshotEntry entry;
  entry.l1_offset = load_be<uint64_t>(bytes.data());
  entry.l1_entries = load_be<uint32_t>(bytes.data() + 8);
  entry.seconds = load_be<uint32_t>(bytes.data() + 16);
  entry.size = extra_length >= 16 ? load_be<uint64_t>(bytes.data() + kFixed + 8) : image_size;
  entry.id = text_of(bytes.subspan(kFixed + extra_length, id_length));
  entry.name = text_of(bytes.subspan(kFixed + extra_length + id_length, name_length));
  bytes = bytes.subspan(std::min<uint64_t>(bytes.size(), (length + 7) / 8 * 8));
  return entry;
}

std::vector<std::byte> encode_bitmap(const BitmapEntry& entry) {
  std::vector<std::byte> bytes(div_round_up(kBitmapEntry + entry.name.size(), 8) * 8);
  const auto put = [&](size_t at, auto value) { store_be(bytes.data() + at, value); };
  put(0, entry.table_offset);
  put(8, entry.table_entries);
  put(12, (entry.in_use ? kBitmapInUse : 0) | (entry.automatic ? kBitmapAutomatic : 0));
  bytes[16] = std::byte{1};  // changes are marked
  bytes[17] = static_cast<std::byte>(std::countr_zero(entry.granularity));
  put(18, static_cast<uint16_t>(entry.name.size()));
  std::memcpy(bytes.data() + kBitmapEntry, entry.name.data(), entry.name.size());
  return bytes;
}

Result<std::vector<BitmapEntry>> parse_bitmaps(std::span<const std::byte> directory,
                                               uint32_t count) {
  std::vector<BitmapEntry> bitmaps;
  for (uint32_t i = 0; i < count; ++i) {
    if (directory.size() < kBitmapEntry) return damaged("the directory of bitmaps is too short");
    const auto flags = load_be<uint32_t>(directory.data() + 12);
    const auto granularity_bits = static_cast<unsigned>(directory[17]);
    const auto name_length = load_be<uint16_t>(directory.data() + 18);
    const auto extra_length = load_be<uint32_t>(directory.data() + 20);
    const uint64_t length = kBitmapEntry + uint64_t{extra_length} + name_length;
    if (length > directory.size() || granularity_bits > 31) {
      return damaged(fmt::format("entry {} of the directory of bitmaps is impossible", i));
    }
    bitmaps.push_back({text_of(directory.subspan(kBitmapEntry + extra_length, name_length)),
                       uint64_t{1} << granularity_bits, (flags & kBitmapInUse) != 0,
                       (flags & kBitmapAutomatic) != 0, load_be<uint64_t>(directory.data()),
                       load_be<uint32_t>(directory.data() + 8)});
    directory = directory.subspan(std::min<uint64_t>(directory.size(), (length + 7) / 8 * 8));
  }
  return bitmaps;
}

}  // namespace snaptool::qcow2
