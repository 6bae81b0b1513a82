// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "libsnap/base/units.h"

namespace snaptool {

// The on-disk format, in numbers; libsnap/snap/store/FORMAT.md is its description. Names are the
// kernel's (drivers/md/dm-snap-persistent.c, Linux 6.1).

inline constexpr uint32_t kSnapMagic = 0x70416e53;  // "SnAp" in the file
inline constexpr uint32_t kSnapshotDiskVersion = 1;
inline constexpr uint64_t kNumSnapshotHdrChunks = 1;
inline constexpr uint64_t kDiskHeaderSize = 16;     // bytes in use of chunk 0
inline constexpr uint64_t kDiskExceptionSize = 16;  // bytes
inline constexpr uint64_t kMaxChunkSectors = uint64_t{1}
                                             << 21;  // INT_MAX >> 9, as a power of two: 1 GiB
// The kernel keeps a run length in the top byte of a new chunk in memory, so none may be this
// large.
inline constexpr uint64_t kNewChunkLimit = uint64_t{1} << 56;

// What chunk 0 begins with; all fields as found.
struct DiskHeader {
  uint32_t magic = 0;
  uint32_t valid = 0;
  uint32_t version = 0;
  uint32_t chunk_size = 0;  // sectors
};
DiskHeader decode_header(std::span<const std::byte, kDiskHeaderSize> bytes);
void encode_header(const DiskHeader& header, std::span<std::byte, kDiskHeaderSize> bytes);

// Linux 2.4 with LVM2's patches had the same magic, and another format: a header with version,
// chunk size, extent size and where the entries are, and entries in sectors.
inline constexpr size_t kLinux24HeaderSize = 28;
inline constexpr std::string_view kLinux24Message =
    "is a store of a Linux 2.4 kernel, which has another format";
bool is_linux_2_4_header(std::span<const std::byte, kLinux24HeaderSize> bytes);

// An entry of an area: origin chunk `old_chunk` has its snapshot content in COW chunk `new_chunk`.
struct Exception {
  uint64_t old_chunk = 0;
  uint64_t new_chunk = 0;  // 0 ends the list
  bool operator==(const Exception&) const = default;
};
Exception decode_exception(const std::byte* bytes);
void encode_exception(const Exception& exception, std::byte* bytes);

// Where things are in a store of a given chunk size.
class Layout {
 public:
  // Requires: chunk_sectors is a power of two from 1 to kMaxChunkSectors.
  explicit Layout(uint64_t chunk_sectors);

  uint64_t chunk_sectors() const { return chunk_bytes_ / kSectorSize; }
  uint64_t chunk_bytes() const { return chunk_bytes_; }
  uint64_t exceptions_per_area() const { return chunk_bytes_ / kDiskExceptionSize; }

  // The chunk that holds area `area`, nullopt when its bytes would lie beyond 2^63.
  std::optional<uint64_t> area_location(uint64_t area) const;
  // The byte that chunk `chunk` starts at, nullopt when the chunk does not fit below 2^63.
  std::optional<uint64_t> chunk_offset(uint64_t chunk) const;
  // True for the header and for every chunk that holds an area, now or once the store is that full.
  bool is_metadata(uint64_t chunk) const;
  // How many chunks before `chunk` are areas, now or once the store is that full.
  uint64_t areas_before(uint64_t chunk) const;

 private:
  uint64_t chunk_bytes_;
};

}  // namespace snaptool
