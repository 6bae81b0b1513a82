// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/layout.h"

#include <bit>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool {

DiskHeader decode_header(std::span<const std::byte, kDiskHeaderSize> bytes) {
  return DiskHeader{load_le<uint32_t>(&bytes[0]), load_le<uint32_t>(&bytes[4]),
                    load_le<uint32_t>(&bytes[8]), load_le<uint32_t>(&bytes[12])};
}

void encode_header(const DiskHeader& header, std::span<std::byte, kDiskHeaderSize> bytes) {
  store_le(&bytes[0], header.magic);
  store_le(&bytes[4], header.valid);
  store_le(&bytes[8], header.version);
  store_le(&bytes[12], header.chunk_size);
}

bool is_linux_2_4_header(std::span<const std::byte, kLinux24HeaderSize> bytes) {
  const auto version = load_le<uint32_t>(&bytes[4]);
  const auto chunk_sectors = load_le<uint32_t>(&bytes[8]);  // today: the version, always 1
  const auto extent_sectors = load_le<uint32_t>(&bytes[12]);
  const auto start = load_le<uint64_t>(&bytes[16]);  // today: zeros
  return load_le<uint32_t>(&bytes[0]) == kSnapMagic && version == 1 && chunk_sectors != 1 &&
         std::has_single_bit(chunk_sectors) && std::has_single_bit(extent_sectors) && start != 0;
}

Exception decode_exception(const std::byte* bytes) {
  return Exception{load_le<uint64_t>(bytes), load_le<uint64_t>(bytes + 8)};
}

void encode_exception(const Exception& exception, std::byte* bytes) {
  store_le(bytes, exception.old_chunk);
  store_le(bytes + 8, exception.new_chunk);
}

Layout::Layout(uint64_t chunk_sectors) : chunk_bytes_(chunk_sectors * kSectorSize) {
  SNAP_CHECK(std::has_single_bit(chunk_sectors) && chunk_sectors <= kMaxChunkSectors);
}

std::optional<uint64_t> Layout::area_location(uint64_t area) const {
  const auto skipped = checked_mul(area, exceptions_per_area() + 1);
  if (!skipped) return std::nullopt;
  const auto chunk = checked_add(kNumSnapshotHdrChunks, *skipped);
  if (!chunk || !chunk_offset(*chunk)) return std::nullopt;
  return chunk;
}

std::optional<uint64_t> Layout::chunk_offset(uint64_t chunk) const {
  // Chunk k covers [k * chunk_bytes, (k + 1) * chunk_bytes); its end must be a possible file size.
  if (chunk >= (kMaxFileSize + uint64_t{1}) / chunk_bytes_) return std::nullopt;
  return chunk * chunk_bytes_;
}

bool Layout::is_metadata(uint64_t chunk) const {
  return chunk == 0 || chunk % (exceptions_per_area() + 1) == kNumSnapshotHdrChunks;
}

uint64_t Layout::areas_before(uint64_t chunk) const {
  // Areas are chunks 1, 1 + stride, ...
  const uint64_t stride = exceptions_per_area() + 1;
  return chunk <= kNumSnapshotHdrChunks ? 0 : (chunk - kNumSnapshotHdrChunks - 1) / stride + 1;
}

}  // namespace snaptool
