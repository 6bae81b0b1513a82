// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/zlib_format.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/printable.h"

namespace snaptool::ewf {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMagic = "EVF\x09\x0d\x0a\xff\x00"sv;
constexpr size_t kTypeBytes = 16;
// Of a GUID (RFC 9562); version 8 is free for whoever makes one.
constexpr size_t kVersionByte = 7;
constexpr size_t kVariantByte = 8;
constexpr unsigned kDerivedVersion = 8;

bool begins_with(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

void put_text(std::span<std::byte> out, std::string_view text) {
  SNAP_CHECK(text.size() <= out.size());
  std::memcpy(out.data(), text.data(), text.size());
}

std::array<std::byte, kSectionBytes> encode_descriptor(std::string_view type, uint64_t next,
                                                       uint64_t size) {
  std::array<std::byte, kSectionBytes> bytes{};
  put_text(std::span(bytes).first(kTypeBytes), type);
  store_le(bytes.data() + 16, next);
  store_le(bytes.data() + 24, size);
  put_sum(bytes);
  return bytes;
}

Result<void> check_volume(const Volume& volume) {
  if (volume.chunk_sectors == 0 || volume.sector_bytes == 0) {
    return broken("its chunks or its sectors have no bytes");
  }
  const auto chunk = checked_mul(volume.chunk_sectors, volume.sector_bytes);
  if (*chunk > kMostChunk) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("chunks of {} bytes are not read, only up to {}", *chunk, kMostChunk));
  }
  const auto size = checked_mul(volume.sectors, volume.sector_bytes);
  if (!size || *size > kMaxFileSize) {
    return broken(fmt::format("its {} sectors of {} bytes are more than any medium has",
                              volume.sectors, volume.sector_bytes));
  }
  const uint64_t needed = volume.needed_chunks();
  if (volume.chunks == needed || volume.chunks == needed + 1) return {};
  return broken(fmt::format("its {} sectors are not in {} chunks of {}", volume.sectors,
                            volume.chunks, volume.chunk_sectors));
}

Volume parse_long_volume(std::span<const std::byte> bytes) {
  Volume volume;
  volume.media_type = std::to_integer<uint8_t>(bytes[0]);
  volume.chunks = load_le<uint32_t>(bytes.data() + 4);
  volume.chunk_sectors = load_le<uint32_t>(bytes.data() + 8);
  volume.sector_bytes = load_le<uint32_t>(bytes.data() + 12);
  volume.sectors = load_le<uint64_t>(bytes.data() + 16);
  volume.media_flags = std::to_integer<uint8_t>(bytes[36]);
  volume.compression = std::to_integer<uint8_t>(bytes[52]);
  volume.error_sectors = load_le<uint32_t>(bytes.data() + 56);
  volume.set_identifier = uuid_at(bytes, 64);
  return volume;
}

Volume parse_smart_volume(std::span<const std::byte> bytes) {
  Volume volume;
  volume.is_smart = true;
  volume.media_type = 1;
  volume.chunks = load_le<uint32_t>(bytes.data() + 4);
  volume.chunk_sectors = load_le<uint32_t>(bytes.data() + 8);
  volume.sector_bytes = load_le<uint32_t>(bytes.data() + 12);
  volume.sectors = load_le<uint32_t>(bytes.data() + 16);
  return volume;
}

}  // namespace

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

bool has_magic(std::span<const std::byte> head) { return begins_with(head, kMagic); }

Result<unsigned> parse_file_header(std::span<const std::byte> bytes) {
  if (!has_magic(bytes)) return broken("it is no EWF file: the magic is missing");
  const auto number = load_le<uint16_t>(bytes.data() + 9);
  if (bytes[8] != std::byte{1} || load_le<uint16_t>(bytes.data() + 11) != 0 || number == 0) {
    return broken("its header is impossible");
  }
  return unsigned{number};
}

std::array<std::byte, kFileHeaderBytes> encode_file_header(unsigned segment) {
  std::array<std::byte, kFileHeaderBytes> bytes{};
  put_text(bytes, kMagic);
  bytes[8] = std::byte{1};
  store_le(bytes.data() + 9, static_cast<uint16_t>(segment));
  return bytes;
}

Result<Section> parse_section(std::span<const std::byte> bytes, uint64_t start, uint64_t size) {
  if (!has_right_sum(bytes)) return broken("the Adler-32 of a section is wrong");
  Section section;
  const char* const type = reinterpret_cast<const char*>(bytes.data());
  section.type.assign(type, strnlen(type, kTypeBytes));
  section.start = start;
  const auto next = load_le<uint64_t>(bytes.data() + 16);
  const auto length = load_le<uint64_t>(bytes.data() + 24);
  // What ends a file names itself, or the file's end, as the next one.
  section.last = next == start || section.type == "next" || section.type == "done";
  section.end = section.last ? section.body() : next;
  if (next < start || section.end > size || (!section.last && next < section.body())) {
    return broken(fmt::format("after the section '{}' comes byte {}, which is impossible",
                              excerpt(section.type), next));
  }
  // The oldest writer leaves the length out, and so do most where nothing follows.
  if (length == 0 || length == section.end - start) return section;
  return broken(fmt::format("the section '{}' has {} bytes, but the next one is at byte {}",
                            excerpt(section.type), length, next));
}

std::array<std::byte, kSectionBytes> encode_section(std::string_view type, uint64_t start,
                                                    uint64_t size) {
  return encode_descriptor(type, start + kSectionBytes + size, kSectionBytes + size);
}

std::array<std::byte, kSectionBytes> encode_last_section(std::string_view type, uint64_t start) {
  return encode_descriptor(type, start, 0);
}

Result<Volume> parse_volume(std::span<const std::byte> bytes) {
  if (!has_right_sum(bytes)) return broken("the Adler-32 of what it says of its medium is wrong");
  Volume volume =
      bytes.size() == kVolumeBytes ? parse_long_volume(bytes) : parse_smart_volume(bytes);
  SNAP_TRY(check_volume(volume));
  return volume;
}

bool is_same_medium(const Volume& one, const Volume& other) {
  return one.sectors == other.sectors && one.sector_bytes == other.sector_bytes &&
         one.chunks == other.chunks && one.chunk_sectors == other.chunk_sectors;
}

bool can_tell_apart(const Uuid& identifier) {
  return !is_null(identifier) &&
         std::to_integer<unsigned>(identifier[kVersionByte]) >> 4U != kDerivedVersion;
}

Uuid derived_identifier(std::span<const std::byte> seed) {
  Hash hash(HashAlgorithm::kSha1);
  hash.update(seed);
  std::array<std::byte, 64> sum{};
  hash.finish(sum);
  Uuid identifier;
  std::copy_n(sum.begin(), identifier.size(), identifier.begin());
  identifier[kVersionByte] &= std::byte{0x0f};
  identifier[kVersionByte] |= std::byte{kDerivedVersion << 4U};
  identifier[kVariantByte] &= std::byte{0x3f};
  identifier[kVariantByte] |= std::byte{0x80};
  return identifier;
}

std::vector<std::byte> encode_volume(const Volume& volume) {
  std::vector<std::byte> bytes(kVolumeBytes);
  bytes[0] = static_cast<std::byte>(volume.media_type);
  store_le(bytes.data() + 4, volume.chunks);
  store_le(bytes.data() + 8, volume.chunk_sectors);
  store_le(bytes.data() + 12, volume.sector_bytes);
  store_le(bytes.data() + 16, volume.sectors);
  bytes[36] = static_cast<std::byte>(volume.media_flags);
  bytes[52] = static_cast<std::byte>(volume.compression);
  store_le(bytes.data() + 56, volume.error_sectors);
  std::copy(volume.set_identifier.begin(), volume.set_identifier.end(), bytes.begin() + 64);
  put_sum(bytes);
  return bytes;
}

std::string_view media_type_name(uint8_t type) {
  switch (type) {
    case 0x00:
      return "removable disk";
    case 0x01:
      return "fixed disk";
    case 0x03:
      return "optical disc";
    case 0x0e:
      return "single files";
    case 0x10:
      return "memory";
    default:
      return "unknown";
  }
}

std::string_view compression_name(uint8_t level) {
  static constexpr std::array<std::string_view, 3> kNames = {"none", "fast", "best"};
  return level < kNames.size() ? kNames[level] : "unknown";
}

Result<TableHeader> parse_table_header(std::span<const std::byte> bytes) {
  if (!has_right_sum(bytes)) return broken("the Adler-32 of its header is wrong");
  return TableHeader{load_le<uint32_t>(bytes.data()), load_le<uint64_t>(bytes.data() + 8)};
}

std::array<std::byte, kTableHeaderBytes> encode_table_header(const TableHeader& header) {
  std::array<std::byte, kTableHeaderBytes> bytes{};
  store_le(bytes.data(), header.entries);
  store_le(bytes.data() + 8, header.base);
  put_sum(bytes);
  return bytes;
}

bool has_right_sum(std::span<const std::byte> bytes) {
  const size_t at = bytes.size() - kSumBytes;
  return load_le<uint32_t>(bytes.data() + at) == adler32(bytes.first(at));
}

void put_sum(std::span<std::byte> bytes) {
  const size_t at = bytes.size() - kSumBytes;
  store_le(bytes.data() + at, adler32(bytes.first(at)));
}

std::optional<std::string> segment_name(const std::string& first, unsigned number) {
  constexpr unsigned kCounted = 99;
  constexpr unsigned kLetters = 26;
  const size_t length = first.size();
  if (length < 4 || first[length - 4] != '.' || first.substr(length - 2) != "01") {
    return std::nullopt;
  }
  const char kind = first[length - 3];
  if (std::string_view("EeSs").find(kind) == std::string_view::npos) return std::nullopt;
  const std::string stem = first.substr(0, length - 3);
  if (number <= kCounted) return fmt::format("{}{}{:02}", stem, kind, number);
  const bool lower = kind >= 'a';
  const unsigned index = number - kCounted - 1;
  const auto letter = [&](unsigned value) {
    return static_cast<char>((lower ? 'a' : 'A') + value);
  };
  const unsigned top =
      static_cast<unsigned>(kind - (lower ? 'a' : 'A')) + index / kLetters / kLetters;
  if (top >= kLetters) return std::nullopt;
  return stem + letter(top) + letter(index / kLetters % kLetters) + letter(index % kLetters);
}

}  // namespace snaptool::ewf
