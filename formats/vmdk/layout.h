// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool::vmdk {

// What lies where in the binary files of a VMDK image (formats/vmdk/FORMAT.md). Pure: nothing here
// reads a file. Source: VMware's "Virtual Disk Format 5.0"; open-vmdk; QEMU's block/vmdk.c.

inline constexpr size_t kSparseHeaderBytes = 512;
inline constexpr size_t kCowdHeaderBytes = 2048;
inline constexpr uint64_t kDirectoryAtEnd = UINT64_MAX;       // the footer says where it is
inline constexpr uint64_t kMostPadding = 64 * kKiB;           // bytes behind a footer's end marker
inline constexpr uint64_t kMostSectors = kMaxFileSize / 512;  // of anything
inline constexpr uint64_t kMostDescriptor = kMiB;             // bytes

// Of an image that is made.
inline constexpr uint64_t kNewGrain = 64 * kKiB;   // bytes
inline constexpr uint64_t kNewTableEntries = 512;  // of a grain table
inline constexpr uint64_t kNewTableBytes = 4 * kNewTableEntries;
inline constexpr uint64_t kNewDescriptorSectors = 20;           // from sector 1 on
inline constexpr uint64_t kMostNewSectors = uint64_t{1} << 37;  // 64 TiB: 8 MiB of directory

// Flags of a sparse header. The upper half must be understood, the lower may be ignored.
inline constexpr uint32_t kNewlinesFlag = 1;  // the newline bytes are there
inline constexpr uint32_t kRedundantFlag = 2;
inline constexpr uint32_t kZeroGrainFlag = 4;
inline constexpr uint32_t kCompressedFlag = 0x10000;
inline constexpr uint32_t kMarkersFlag = 0x20000;

// The header of a hosted sparse extent ("KDMV"), or its footer. Offsets and sizes are sectors.
struct SparseHeader {
  uint32_t version = 1;
  uint32_t flags = kNewlinesFlag;
  uint64_t capacity = 0;
  uint64_t grain = kNewGrain / kSectorSize;
  uint64_t descriptor = 0;  // where it is; 0: there is none
  uint64_t descriptor_sectors = 0;
  uint32_t table_entries = kNewTableEntries;
  uint64_t redundant_directory = 0;
  uint64_t directory = 0;
  uint64_t overhead = 0;  // the first sector of a grain
  bool unclean = false;
  uint16_t compression = 0;  // 1: deflate
};

// Where the grains of a sparse extent of any kind are found.
struct GrainMap {
  uint64_t capacity = 0;       // sectors
  uint64_t grain = 0;          // sectors
  uint64_t table_entries = 0;  // of a grain table
  uint64_t directory = 0;      // sector
  uint64_t copy = 0;           // sector of the directory's copy; 0: there is none
  uint64_t first_sector = 0;   // no table and no grain lies before
  bool zero_grains = false;    // entry 1 of a table stands for zeros
  bool compressed = false;
  bool markers = false;  // a compressed grain has its place in the extent before it

  uint64_t grain_bytes() const { return grain * kSectorSize; }
  uint64_t directory_entries() const;
};

// The header of an ESX sparse extent ("COWD").
struct CowdHeader {
  GrainMap grains;
  bool unclean = false;
};

// What a sector between the grains of a stream announces.
enum class Marker : uint32_t { kEnd = 0, kTable = 1, kDirectory = 2, kFooter = 3 };

// An error of a file that breaks its format.
Error broken(std::string what);

bool has_sparse_magic(std::span<const std::byte> head);
bool has_cowd_magic(std::span<const std::byte> head);
bool has_descriptor_magic(std::span<const std::byte> head);

// The header may leave the directory to the footer. Requires: kSparseHeaderBytes bytes. Errors:
// kCorruption; kUnsupported for other versions and features.
Result<SparseHeader> parse_sparse_header(std::span<const std::byte> bytes);
// Where the footer's header is in the last bytes of a file, which begin at a sector.
std::optional<size_t> find_footer(std::span<const std::byte> tail);
// That a footer belongs to the header. Errors: kCorruption.
Result<void> check_footer(const SparseHeader& header, const SparseHeader& footer);
// Requires: the directory is known. Errors: kCorruption for an impossible one.
Result<GrainMap> grain_map_of(const SparseHeader& header);
// Requires: kCowdHeaderBytes bytes. Errors: kCorruption; kUnsupported for other versions.
Result<CowdHeader> parse_cowd_header(std::span<const std::byte> bytes);

// kSparseHeaderBytes bytes.
std::vector<std::byte> encode_sparse_header(const SparseHeader& header);
// A sector that announces so many others.
std::vector<std::byte> encode_marker(Marker type, uint64_t sectors);

// A compressed grain is: where it belongs (sector of the extent, 8 bytes; with markers only), the
// size of what follows (4), zlib's format (RFC 1950).
inline constexpr size_t kGrainMarkerBytes = 12;

}  // namespace snaptool::vmdk
