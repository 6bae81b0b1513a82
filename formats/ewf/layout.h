// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/common/uuid.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::ewf {

// What lies where in the files of an EWF image of version 1 (formats/ewf/FORMAT.md). Pure: nothing
// here reads a file. Source: ASR Data's whitepaper; libewf's documentation of the format.

inline constexpr size_t kFileHeaderBytes = 13;
inline constexpr size_t kSectionBytes = 76;  // of a descriptor
inline constexpr size_t kVolumeBytes = 1052;
inline constexpr size_t kSmartVolumeBytes = 94;
inline constexpr size_t kTableHeaderBytes = 24;
inline constexpr size_t kEntryBytes = 4;
inline constexpr size_t kSumBytes = 4;
inline constexpr size_t kHashBytes = 36;
inline constexpr size_t kDigestBytes = 80;
inline constexpr size_t kErrorHeaderBytes = 520;
inline constexpr size_t kErrorBytes = 8;
inline constexpr uint64_t kMostChunk = 16 * kMiB;        // 32768 sectors, EnCase's largest
inline constexpr uint32_t kCompressedBit = 0x80000000U;  // of a table's entry
inline constexpr uint32_t kMostOffset = 0x7fffffffU;     // what is left of it

// An error of a file that breaks its format.
Error broken(std::string what);

bool has_magic(std::span<const std::byte> head);
// The number of the segment that the file is. Requires: kFileHeaderBytes bytes. Errors:
// kCorruption.
Result<unsigned> parse_file_header(std::span<const std::byte> bytes);
std::array<std::byte, kFileHeaderBytes> encode_file_header(unsigned segment);

// What a section's descriptor says. Offsets are bytes of the file.
struct Section {
  std::string type;
  uint64_t start = 0;  // of the descriptor
  uint64_t end = 0;    // where the next one is; of the last one in a file, of the descriptor
  bool last = false;   // nothing follows it

  uint64_t body() const { return start + kSectionBytes; }
  uint64_t body_size() const { return end - body(); }
};
// Requires: kSectionBytes bytes, at `start`. Errors: kCorruption, also for one that passes `size`,
// the file's.
Result<Section> parse_section(std::span<const std::byte> bytes, uint64_t start, uint64_t size);
// `size`: of what follows it.
std::array<std::byte, kSectionBytes> encode_section(std::string_view type, uint64_t start,
                                                    uint64_t size);
// One that names itself as the next.
std::array<std::byte, kSectionBytes> encode_last_section(std::string_view type, uint64_t start);

// What a volume section says of the medium.
struct Volume {
  bool is_smart = false;  // SMART's: short, and its tables have no sum of their entries
  uint8_t media_type = 0;
  uint8_t media_flags = 0;
  uint8_t compression = 0;  // 0 none, 1 fast, 2 best
  uint32_t chunks = 0;
  uint32_t chunk_sectors = 0;
  uint32_t sector_bytes = 0;
  uint64_t sectors = 0;
  uint32_t error_sectors = 0;  // so many are given up together where one cannot be read
  Uuid set_identifier{};

  uint64_t chunk_bytes() const { return uint64_t{chunk_sectors} * sector_bytes; }
  uint64_t size() const { return sectors * sector_bytes; }
  // That whole sectors need. The image may have one more: a file that was acquired, and ends within
  // a sector, has its rest there.
  uint64_t needed_chunks() const { return div_round_up(sectors, chunk_sectors); }
};
// Requires: the bytes of the section, kVolumeBytes or kSmartVolumeBytes. Errors: kCorruption, also
// where its numbers contradict each other; kUnsupported for chunks larger than kMostChunk.
Result<Volume> parse_volume(std::span<const std::byte> bytes);
// Whether both say the same of how large the medium is, and in what chunks.
bool is_same_medium(const Volume& one, const Volume& other);
// Whether no other image has this set identifier: it is there, and was not made of the content.
bool can_tell_apart(const Uuid& identifier);
// One of what is known when the image is begun, so that the same image is made again.
Uuid derived_identifier(std::span<const std::byte> seed);
// kVolumeBytes bytes.
std::vector<std::byte> encode_volume(const Volume& volume);
std::string_view media_type_name(uint8_t type);
std::string_view compression_name(uint8_t level);

// What a table says before its entries.
struct TableHeader {
  uint32_t entries = 0;
  uint64_t base = 0;  // bytes of the file, from which entries count
};
// Requires: kTableHeaderBytes bytes. Errors: kCorruption.
Result<TableHeader> parse_table_header(std::span<const std::byte> bytes);
std::array<std::byte, kTableHeaderBytes> encode_table_header(const TableHeader& header);

// Whether the last four bytes are the Adler-32 of those before. Requires: there are four.
bool has_right_sum(std::span<const std::byte> bytes);
// Puts it there.
void put_sum(std::span<std::byte> bytes);

// The name of a segment, from that of the first: "x.E01", "x.E02", ... "x.E99", "x.EAA", ...
// "x.EZZ", "x.FAA", ... nullopt where the first one is not called so, or there are no more names.
std::optional<std::string> segment_name(const std::string& first, unsigned number);

}  // namespace snaptool::ewf
