// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::vmdk {
namespace {

constexpr std::string_view kSparseMagic = "KDMV";
constexpr std::string_view kCowdMagic = "COWD";
constexpr std::string_view kDescriptorMagic = "# Disk DescriptorFile";
constexpr std::string_view kNewlines = "\n \r\n";
constexpr size_t kNewlinesAt = 73;
constexpr uint32_t kLastVersion = 3;
constexpr uint32_t kMustUnderstand = 0xffff0000;
constexpr uint64_t kMostGrain = 0x200000;      // sectors, QEMU's
constexpr uint64_t kMostPackedGrain = 0x8000;  // sectors: 16 MiB, since it is held in memory
constexpr uint64_t kMostTableEntries = 512;    // QEMU's
constexpr uint64_t kCowdTableEntries = 4096;
constexpr uint64_t kCowdHeaderSectors = kCowdHeaderBytes / kSectorSize;

bool begins_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

Error unread(std::string what) { return {ErrorCode::kUnsupported, std::move(what)}; }

Result<void> check_flags(const SparseHeader& header, std::span<const std::byte> bytes) {
  constexpr uint32_t kKnown = kCompressedFlag | kMarkersFlag;
  if (const uint32_t other = header.flags & kMustUnderstand & ~kKnown; other != 0) {
    return unread(fmt::format("flags {:#x} of VMDK are not read", other));
  }
  if ((header.flags & kNewlinesFlag) != 0 && !begins_with(bytes.subspan(kNewlinesAt), kNewlines)) {
    return broken("its newline bytes are changed, as by a transfer that took it for text");
  }
  if (header.compression > 1) {
    return unread(fmt::format("compression {} of VMDK is not read", header.compression));
  }
  const bool compressed = (header.flags & kCompressedFlag) != 0;
  if (compressed != (header.compression == 1)) {
    return broken("its flags and its compression contradict each other");
  }
  if (!compressed && (header.flags & kMarkersFlag) != 0) {
    return unread("markers without compression are not read");
  }
  return {};
}

Result<void> check_numbers(const SparseHeader& header) {
  if (header.capacity > kMostSectors) {
    return broken(fmt::format("its capacity of {} sectors is impossible", header.capacity));
  }
  if (!std::has_single_bit(header.grain) || header.grain > kMostGrain) {
    return broken(fmt::format("its grains of {} sectors are impossible", header.grain));
  }
  if (header.compression != 0 && header.grain > kMostPackedGrain) {
    return unread(fmt::format("compressed grains of {} sectors are not read", header.grain));
  }
  if (header.table_entries == 0 || header.table_entries > kMostTableEntries) {
    return broken(
        fmt::format("its grain tables of {} entries are impossible", header.table_entries));
  }
  if (header.descriptor > kMostSectors) {
    return broken(fmt::format("its descriptor at sector {} is impossible", header.descriptor));
  }
  if (header.descriptor != 0 && header.descriptor_sectors > kMostDescriptor / kSectorSize) {
    return broken(
        fmt::format("its descriptor of {} sectors is impossible", header.descriptor_sectors));
  }
  return {};
}

Result<void> check_directory(const GrainMap& grains) {
  if (grains.directory > 0 && grains.directory <= kMostSectors) return {};
  return broken(fmt::format("its grain directory at sector {} is impossible", grains.directory));
}

}  // namespace

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

uint64_t GrainMap::directory_entries() const {
  return div_round_up(capacity, table_entries * grain);
}

bool has_sparse_magic(std::span<const std::byte> head) { return begins_with(head, kSparseMagic); }
bool has_cowd_magic(std::span<const std::byte> head) { return begins_with(head, kCowdMagic); }
bool has_descriptor_magic(std::span<const std::byte> head) {
  return begins_with(head, kDescriptorMagic);
}

Result<SparseHeader> parse_sparse_header(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kSparseHeaderBytes);
  const auto word = [&](size_t at) { return load_le<uint32_t>(bytes.data() + at); };
  const auto number = [&](size_t at) { return load_le<uint64_t>(bytes.data() + at); };
  if (!has_sparse_magic(bytes)) return broken("the magic of a sparse VMDK file is missing");
  SparseHeader header;
  header.version = word(4);
  if (header.version == 0 || header.version > kLastVersion) {
    return unread(fmt::format("version {} of VMDK is not read", header.version));
  }
  header.flags = word(8);
  header.capacity = number(12);
  header.grain = number(20);
  header.descriptor = number(28);
  header.descriptor_sectors = number(36);
  header.table_entries = word(44);
  header.redundant_directory = number(48);
  header.directory = number(56);
  header.overhead = number(64);
  header.unclean = bytes[72] != std::byte{0};
  header.compression = load_le<uint16_t>(bytes.data() + 77);
  SNAP_TRY(check_flags(header, bytes));
  SNAP_TRY(check_numbers(header));
  return header;
}

std::optional<size_t> find_footer(std::span<const std::byte> tail) {
  const auto is_marker = [&](size_t at, Marker type) {
    return load_le<uint32_t>(tail.data() + at + 8) == 0 &&
           load_le<uint32_t>(tail.data() + at + 12) == static_cast<uint32_t>(type);
  };
  constexpr size_t kSector = kSectorSize;
  // The marker of the footer, the footer, the marker of the end; zeros where it was padded.
  for (size_t at = round_down(tail.size(), kSector); at >= 3 * kSector; at -= kSector) {
    const size_t footer = at - 2 * kSector;
    if (!is_all_zero(tail.subspan(at))) return std::nullopt;
    if (has_sparse_magic(tail.subspan(footer)) && is_marker(footer - kSector, Marker::kFooter) &&
        is_marker(at - kSector, Marker::kEnd) && is_all_zero(tail.subspan(at - kSector, 8))) {
      return footer;
    }
  }
  return std::nullopt;
}

Result<void> check_footer(const SparseHeader& header, const SparseHeader& footer) {
  const auto fields = [](const SparseHeader& one) {
    return std::array<uint64_t, 7>{one.version,      one.flags,      one.capacity,
                                   one.grain,        one.descriptor, one.descriptor_sectors,
                                   one.table_entries};
  };
  if (fields(header) != fields(footer)) return broken("its header and its footer differ");
  return {};
}

Result<GrainMap> grain_map_of(const SparseHeader& header) {
  GrainMap grains;
  grains.capacity = header.capacity;
  grains.grain = header.grain;
  grains.table_entries = header.table_entries;
  grains.directory = header.directory;
  const bool has_copy = (header.flags & kRedundantFlag) != 0 &&
                        header.redundant_directory != kDirectoryAtEnd &&
                        header.redundant_directory <= kMaxFileSize / kSectorSize;
  grains.copy = has_copy ? header.redundant_directory : 0;
  grains.first_sector = 2;  // 1 stands for zeros, if for anything
  grains.zero_grains = (header.flags & kZeroGrainFlag) != 0;
  grains.compressed = (header.flags & kCompressedFlag) != 0;
  grains.markers = (header.flags & kMarkersFlag) != 0;
  SNAP_TRY(check_directory(grains));
  return grains;
}

Result<CowdHeader> parse_cowd_header(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kCowdHeaderBytes);
  const auto word = [&](size_t at) { return load_le<uint32_t>(bytes.data() + at); };
  if (!has_cowd_magic(bytes)) return broken("the magic of an ESX sparse file is missing");
  if (word(4) != 1)
    return unread(fmt::format("version {} of ESX's sparse files is not read", word(4)));
  CowdHeader header;
  GrainMap& grains = header.grains;
  grains.capacity = word(12);
  grains.grain = word(16);
  grains.table_entries = kCowdTableEntries;
  grains.directory = word(20);
  grains.first_sector = kCowdHeaderSectors;
  header.unclean = word(1648) != 0;
  if (grains.grain == 0 || grains.grain > kMostGrain) {
    return broken(fmt::format("its grains of {} sectors are impossible", grains.grain));
  }
  if (word(24) < grains.directory_entries()) {
    return broken(fmt::format("its grain directory of {} entries is too short for {} sectors",
                              word(24), grains.capacity));
  }
  SNAP_TRY(check_directory(grains));
  return header;
}

std::vector<std::byte> encode_sparse_header(const SparseHeader& header) {
  std::vector<std::byte> bytes(kSparseHeaderBytes);
  const auto put = [&](size_t at, uint64_t value) { store_le(bytes.data() + at, value); };
  std::memcpy(bytes.data(), kSparseMagic.data(), kSparseMagic.size());
  store_le(bytes.data() + 4, header.version);
  store_le(bytes.data() + 8, header.flags);
  put(12, header.capacity);
  put(20, header.grain);
  put(28, header.descriptor);
  put(36, header.descriptor_sectors);
  store_le(bytes.data() + 44, header.table_entries);
  put(48, header.redundant_directory);
  put(56, header.directory);
  put(64, header.overhead);
  std::memcpy(bytes.data() + kNewlinesAt, kNewlines.data(), kNewlines.size());
  store_le(bytes.data() + 77, header.compression);
  return bytes;
}

std::vector<std::byte> encode_marker(Marker type, uint64_t sectors) {
  std::vector<std::byte> bytes(kSectorSize);
  store_le(bytes.data(), sectors);
  store_le(bytes.data() + 12, static_cast<uint32_t>(type));
  return bytes;
}

}  // namespace snaptool::vmdk
