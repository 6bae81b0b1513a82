// SPDX-License-Identifier: Apache-2.0
#include "formats/simg/layout.h"

#include <fmt/format.h>

#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::simg {
namespace {

constexpr uint32_t kMagic = 0xed26ff3a;
constexpr uint16_t kMajorVersion = 1;

Error broken(std::string what) { return {ErrorCode::kCorruption, std::move(what)}; }

Result<void> check_header(const Header& header) {
  if (header.header_bytes < kHeaderBytes) {
    return broken(fmt::format("a header of {} bytes is impossible", header.header_bytes));
  }
  if (header.chunk_header_bytes < kChunkHeaderBytes) {
    return broken(
        fmt::format("headers of chunks of {} bytes are impossible", header.chunk_header_bytes));
  }
  if (header.block_size == 0 || header.block_size % kValueBytes != 0) {
    return broken(fmt::format("its blocks of {} bytes are impossible", header.block_size));
  }
  if (header.size() > kMaxFileSize) {
    return broken(fmt::format("{} blocks of {} bytes are more than any image has", header.blocks,
                              header.block_size));
  }
  return {};
}

// What follows the header of a chunk, bytes.
uint64_t content_bytes(const ChunkHeader& chunk, const Header& header) {
  switch (chunk.type) {
    case ChunkType::kRaw:
      return uint64_t{chunk.blocks} * header.block_size;
    case ChunkType::kFill:
    case ChunkType::kCrc:
      return kValueBytes;
    case ChunkType::kDontCare:
      break;
  }
  return 0;
}

}  // namespace

bool has_magic(std::span<const std::byte> head) {
  return head.size() >= sizeof kMagic && load_le<uint32_t>(head.data()) == kMagic;
}

Result<Header> parse_header(std::span<const std::byte> bytes) {
  SNAP_CHECK(bytes.size() == kHeaderBytes);
  if (!has_magic(bytes)) return broken("it is no Android sparse image: the magic is missing");
  const auto major = load_le<uint16_t>(bytes.data() + 4);
  if (major != kMajorVersion) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("version {}.{} of Android's sparse images is not read", major,
                             load_le<uint16_t>(bytes.data() + 6)));
  }
  Header header;
  header.header_bytes = load_le<uint16_t>(bytes.data() + 8);
  header.chunk_header_bytes = load_le<uint16_t>(bytes.data() + 10);
  header.block_size = load_le<uint32_t>(bytes.data() + 12);
  header.blocks = load_le<uint32_t>(bytes.data() + 16);
  header.chunks = load_le<uint32_t>(bytes.data() + 20);
  header.checksum = load_le<uint32_t>(bytes.data() + 24);
  SNAP_TRY(check_header(header));
  return header;
}

Result<ChunkHeader> parse_chunk(std::span<const std::byte> bytes, const Header& header) {
  SNAP_CHECK(bytes.size() == kChunkHeaderBytes);
  const auto type = load_le<uint16_t>(bytes.data());
  if (type < static_cast<uint16_t>(ChunkType::kRaw) ||
      type > static_cast<uint16_t>(ChunkType::kCrc)) {
    return broken(fmt::format("a chunk of the unknown type {:#06x}", type));
  }
  ChunkHeader chunk;
  chunk.type = static_cast<ChunkType>(type);
  chunk.blocks = load_le<uint32_t>(bytes.data() + 4);
  chunk.total_bytes = load_le<uint32_t>(bytes.data() + 8);
  if (chunk.total_bytes != header.chunk_header_bytes + content_bytes(chunk, header)) {
    return broken(fmt::format("a chunk of type {:#06x} and {} blocks has {} bytes", type,
                              chunk.blocks, chunk.total_bytes));
  }
  if (chunk.type == ChunkType::kCrc && chunk.blocks != 0) {
    return broken(fmt::format("a chunk with a sum has {} blocks", chunk.blocks));
  }
  return chunk;
}

std::array<std::byte, kHeaderBytes> encode_header(const Header& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  store_le(bytes.data(), kMagic);
  store_le(bytes.data() + 4, kMajorVersion);
  store_le(bytes.data() + 8, header.header_bytes);
  store_le(bytes.data() + 10, header.chunk_header_bytes);
  store_le(bytes.data() + 12, header.block_size);
  store_le(bytes.data() + 16, header.blocks);
  store_le(bytes.data() + 20, header.chunks);
  store_le(bytes.data() + 24, header.checksum);
  return bytes;
}

std::array<std::byte, kChunkHeaderBytes> encode_chunk(const ChunkHeader& chunk) {
  std::array<std::byte, kChunkHeaderBytes> bytes{};
  store_le(bytes.data(), static_cast<uint16_t>(chunk.type));
  store_le(bytes.data() + 4, chunk.blocks);
  store_le(bytes.data() + 8, chunk.total_bytes);
  return bytes;
}

}  // namespace snaptool::simg
