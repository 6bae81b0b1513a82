// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/common/uuid.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::vhdx {

// What lies where in a VHDX file (formats/vhdx/FORMAT.md). Pure: nothing here reads a file. Offsets
// and sizes are bytes. Source: [MS-VHDX].

inline constexpr std::array<uint64_t, 2> kHeadersAt = {64 * kKiB, 128 * kKiB};
inline constexpr size_t kHeaderBytes = 4096;
inline constexpr std::array<uint64_t, 2> kRegionTablesAt = {192 * kKiB, 256 * kKiB};
inline constexpr size_t kRegionTableBytes = 64 * kKiB;
inline constexpr size_t kMetadataTableBytes = 64 * kKiB;
inline constexpr uint64_t kAlign = kMiB;  // of regions, the log and blocks
inline constexpr uint64_t kLeastBlock = kMiB;
inline constexpr uint64_t kMostBlock = 256 * kMiB;
inline constexpr uint64_t kNewBlock = 32 * kMiB;      // of an image that is made, as Windows has it
inline constexpr uint64_t kMostSize = 65536 * kGiB;   // of the image
inline constexpr uint32_t kNewPhysicalSector = 4096;  // of an image that is made

struct Header {
  uint64_t sequence = 0;  // the greater one counts
  Uuid file_write{};      // another after each time that the file was open for writing
  Uuid data_write{};      // another before the content changes
  Uuid log{};             // null: the log is empty
  uint32_t log_version = 0;
  uint64_t log_length = 0;
  uint64_t log_offset = 0;
};

// Where a region is.
struct Region {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct Regions {
  Region bat;
  Region metadata;
};

// What the metadata consist of, in the order of their items.
enum class Item { kFileParameters, kSize, kLogicalSector, kPhysicalSector, kDiskId, kParent };
inline constexpr size_t kItems = 6;

// Where the items are, from the start of their region on. Nothing of a length of 0.
using ItemPlaces = std::array<Region, kItems>;
using ItemBytes = std::array<std::vector<std::byte>, kItems>;

struct Metadata {
  uint64_t block_size = kNewBlock;
  bool fixed = false;  // all blocks stay allocated
  bool has_parent = false;
  uint64_t size = 0;  // of the image
  uint64_t logical_sector = kSectorSize;
  uint64_t physical_sector = kNewPhysicalSector;
  Uuid disk_id{};

  uint64_t blocks() const { return div_round_up(size, block_size); }
  // Blocks whose sectors have their bits in one block of bits, of 1 MiB.
  uint64_t chunk_ratio() const { return (uint64_t{1} << 23U) * logical_sector / block_size; }
  // Places in the BAT, of a block and of the bits of its chunk; and how many there are.
  uint64_t entry_of(uint64_t block) const { return block + block / chunk_ratio(); }
  uint64_t bits_entry_of(uint64_t chunk) const {
    return chunk * (chunk_ratio() + 1) + chunk_ratio();
  }
  uint64_t entries() const;
};

// What a differencing image says of its parent.
struct ParentLocator {
  // Relative to the folder of the image, the best first; perhaps none.
  std::vector<std::string> names;
  std::vector<std::string> identities;  // at least one
};

enum class BlockState : uint8_t {
  kNotPresent = 0,  // the parent's, or zeros
  kUndefined = 1,
  kZero = 2,
  kUnmapped = 3,
  kReserved = 4,
  kOldUnmapped = 5,  // of a draft of the specification
  kPresent = 6,
  kPartly = 7,  // each sector the image's own, or the parent's
};

struct BatEntry {
  BlockState state = BlockState::kNotPresent;
  uint64_t offset = 0;  // in the file
};

bool has_magic(std::span<const std::byte> head);
// What a file begins with.
std::vector<std::byte> encode_start();

// Of what has a checksum at byte 4.
uint32_t checksum_of(std::span<const std::byte> bytes);

// Requires: kHeaderBytes bytes. Errors: kCorruption; kUnsupported for other versions.
Result<Header> parse_header(std::span<const std::byte> bytes);
std::vector<std::byte> encode_header(const Header& header);

// Requires: kRegionTableBytes bytes. Errors: kCorruption; kUnsupported for a region that is unknown
// and required.
Result<Regions> parse_regions(std::span<const std::byte> bytes);
std::vector<std::byte> encode_regions(const Regions& regions);

// Of the table that the metadata begin with. Requires: kMetadataTableBytes bytes. Errors:
// kCorruption; kUnsupported for an item that is unknown and required.
Result<ItemPlaces> parse_item_places(std::span<const std::byte> bytes, uint64_t region_length);
// Requires: as long as ItemPlaces has it. Errors: kCorruption.
Result<Metadata> parse_metadata(const ItemBytes& items);
// The table and the items; not of a differencing image.
std::vector<std::byte> encode_metadata(const Metadata& metadata);

// Errors: kCorruption; kUnsupported for another type.
Result<ParentLocator> parse_parent_locator(std::span<const std::byte> bytes);

BatEntry decode_entry(uint64_t entry);
uint64_t encode_entry(const BatEntry& entry);

// By what a child knows its parent.
std::string identity_of(const Uuid& data_write);

}  // namespace snaptool::vhdx
