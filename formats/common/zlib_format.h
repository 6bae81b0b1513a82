// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "libsnap/base/deflate.h"

namespace snaptool {

// zlib's format (RFC 1950): a header, a deflate stream, the Adler-32 of the content.
inline constexpr size_t kZlibHeaderBytes = 2;
inline constexpr size_t kZlibTrailerBytes = 4;
// The sum of RFC 1950.
uint32_t adler32(std::span<const std::byte> data);
// The same of what comes piece by piece.
class Adler32 {
 public:
  void add(std::span<const std::byte> data);
  uint32_t value() const { return b_ << 16U | a_; }

 private:
  uint32_t a_ = 1;
  uint32_t b_ = 0;
};
// The deflate stream within zlib's format, and the sum after it. Errors: kCorruption.
struct ZlibParts {
  std::span<const std::byte> stream;
  uint32_t sum = 0;
};
Result<ZlibParts> parse_zlib(std::span<const std::byte> bytes);
void encode_zlib_header(std::span<std::byte> out);

// All of the content of what `bytes` begin with; returns its length. Errors: kCorruption, also for
// more than fits `out`, and for a wrong sum.
Result<size_t> unpack_zlib(Inflater& inflater, std::span<const std::byte> bytes,
                           std::span<std::byte> out);
// The other way round; returns how long it is, or nothing when it does not fit `out`.
std::optional<size_t> pack_zlib(Deflater& deflater, std::span<const std::byte> content,
                                std::span<std::byte> out);

}  // namespace snaptool
