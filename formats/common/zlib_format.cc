// SPDX-License-Identifier: Apache-2.0
#include "formats/common/zlib_format.h"

#include <algorithm>

#include "libsnap/base/endian.h"

namespace snaptool {

void Adler32::add(std::span<const std::byte> data) {
  constexpr uint32_t kModulus = 65521;
  constexpr size_t kUntilOverflow = 5552;  // bytes that 32 bits can sum up, as zlib has it
  while (!data.empty()) {
    const auto piece = data.first(std::min(kUntilOverflow, data.size()));
    uint32_t a = a_;
    uint32_t b = b_;
    for (const std::byte byte : piece) {
      a += std::to_integer<uint32_t>(byte);
      b += a;
    }
    a_ = a % kModulus;
    b_ = b % kModulus;
    data = data.subspan(piece.size());
  }
}

uint32_t adler32(std::span<const std::byte> data) {
  Adler32 sum;
  sum.add(data);
  return sum.value();
}

Result<ZlibParts> parse_zlib(std::span<const std::byte> bytes) {
  if (bytes.size() <= kZlibHeaderBytes + kZlibTrailerBytes)
    return Error(ErrorCode::kCorruption, "it is too short");
  const auto method = std::to_integer<unsigned>(bytes[0]);
  const auto flags = std::to_integer<unsigned>(bytes[1]);
  // Deflate with a window of at most 32 KiB and without a dictionary.
  if ((method & 0x0fU) != 8 || method >> 4U > 7 || (method << 8U | flags) % 31 != 0 ||
      (flags & 0x20U) != 0) {
    return Error(ErrorCode::kCorruption, "it does not begin as zlib's format does");
  }
  const size_t end = bytes.size() - kZlibTrailerBytes;
  return ZlibParts{bytes.subspan(kZlibHeaderBytes, end - kZlibHeaderBytes),
                   load_be<uint32_t>(bytes.data() + end)};
}

void encode_zlib_header(std::span<std::byte> out) {
  // Deflate, a window of at most 32 KiB, the default level: what most writers have.
  out[0] = std::byte{0x78};
  out[1] = std::byte{0x9c};
}

Result<size_t> unpack_zlib(Inflater& inflater, std::span<const std::byte> bytes,
                           std::span<std::byte> out) {
  SNAP_ASSIGN(const ZlibParts parts, parse_zlib(bytes));
  SNAP_ASSIGN(const Inflater::Whole whole, inflater.inflate_whole(parts.stream, out));
  const uint32_t sum = load_be<uint32_t>(parts.stream.data() + whole.stream);
  if (adler32(out.first(whole.content)) == sum) return whole.content;
  return Error(ErrorCode::kCorruption, "its Adler-32 is wrong");
}

std::optional<size_t> pack_zlib(Deflater& deflater, std::span<const std::byte> content,
                                std::span<std::byte> out) {
  if (out.size() <= kZlibHeaderBytes + kZlibTrailerBytes) return std::nullopt;
  const auto room = out.subspan(kZlibHeaderBytes);
  const auto length = deflater.deflate(content, room.first(room.size() - kZlibTrailerBytes));
  if (!length) return std::nullopt;
  encode_zlib_header(out);
  store_be(room.data() + *length, adler32(content));
  return kZlibHeaderBytes + *length + kZlibTrailerBytes;
}

}  // namespace snaptool
