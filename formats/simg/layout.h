// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "libsnap/base/result.h"

namespace snaptool::simg {

// The headers of an Android sparse image (formats/simg/FORMAT.md). Pure: nothing here reads a file.
// Source: AOSP's libsparse/sparse_format.h.

inline constexpr size_t kHeaderBytes = 28;       // what is known of the file's
inline constexpr size_t kChunkHeaderBytes = 12;  // what is known of a chunk's
inline constexpr size_t kValueBytes = 4;         // of a fill, and of a sum

enum class ChunkType : uint16_t {
  kRaw = 0xcac1,       // its blocks follow
  kFill = 0xcac2,      // four bytes follow, which are repeated
  kDontCare = 0xcac3,  // nothing follows: reads as zeros
  kCrc = 0xcac4,       // the CRC-32 of all output before it follows; it has no blocks itself
};

struct Header {
  uint16_t header_bytes = kHeaderBytes;
  uint16_t chunk_header_bytes = kChunkHeaderBytes;
  uint32_t block_size = 0;  // bytes
  uint32_t blocks = 0;      // of the image
  uint32_t chunks = 0;
  uint32_t checksum = 0;  // CRC-32 of the image; 0: it is not given

  uint64_t size() const { return uint64_t{block_size} * blocks; }  // of the image
};

struct ChunkHeader {
  ChunkType type = ChunkType::kDontCare;
  uint32_t blocks = 0;       // of the image
  uint32_t total_bytes = 0;  // in the file, its header included
};

bool has_magic(std::span<const std::byte> head);
// Requires: kHeaderBytes bytes. Errors: kCorruption; kUnsupported for other versions.
Result<Header> parse_header(std::span<const std::byte> bytes);
// Requires: kChunkHeaderBytes bytes. Errors: kCorruption, also where the sizes do not go together.
Result<ChunkHeader> parse_chunk(std::span<const std::byte> bytes, const Header& header);

std::array<std::byte, kHeaderBytes> encode_header(const Header& header);
std::array<std::byte, kChunkHeaderBytes> encode_chunk(const ChunkHeader& chunk);

}  // namespace snaptool::simg
