// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/lznt1.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

constexpr size_t kChunkBytes = 4096;  // that a chunk gives

Error broken(const char* what) { return {ErrorCode::kCorruption, what}; }

// A copy of bytes that were given before. The farther a chunk has come, the more bits say from how
// far back, and the fewer say how many.
Result<size_t> copy_back(unsigned token, std::span<std::byte> out, size_t done) {
  const auto back_bits = std::max(4U, static_cast<unsigned>(std::bit_width(done - 1)));
  const size_t back = (token >> (16 - back_bits)) + 1;
  const size_t length = (token & (0xffffU >> back_bits)) + 3;
  if (back > done) return broken("compressed data refer to what is before them");
  if (length > out.size() - done) return broken("compressed data give more than there is");
  for (size_t i = 0; i < length; ++i) out[done + i] = out[done + i - back];
  return done + length;
}

// How many bytes it gave.
Result<size_t> unpack_chunk(std::span<const std::byte> packed, std::span<std::byte> out) {
  size_t done = 0;
  while (!packed.empty()) {
    auto flags = std::to_integer<unsigned>(packed[0]);
    packed = packed.subspan(1);
    for (int i = 0; i < 8 && !packed.empty(); ++i, flags >>= 1U) {
      if ((flags & 1U) == 0) {
        if (done == out.size()) return broken("compressed data give more than there is");
        out[done++] = packed[0];
        packed = packed.subspan(1);
        continue;
      }
      if (packed.size() < 2 || done == 0) return broken("compressed data are cut");
      SNAP_ASSIGN(done, copy_back(load_le<uint16_t>(packed.data()), out, done));
      packed = packed.subspan(2);
    }
  }
  return done;
}

}  // namespace

Result<void> unpack_lznt1(std::span<const std::byte> packed, std::span<std::byte> out) {
  while (!out.empty() && packed.size() >= 2) {
    const unsigned head = load_le<uint16_t>(packed.data());
    if (head == 0) break;
    const size_t length = (head & 0xfffU) + 1;
    if ((head & 0x7000U) != 0x3000) return broken("compressed data have a chunk that is none");
    if (length > packed.size() - 2) return broken("compressed data are cut");
    const auto data = packed.subspan(2, length);
    const auto chunk = out.first(std::min(out.size(), kChunkBytes));
    size_t done = 0;
    if ((head & 0x8000U) == 0) {
      done = std::min(length, chunk.size());
      std::memcpy(chunk.data(), data.data(), done);
    } else {
      SNAP_ASSIGN(done, unpack_chunk(data, chunk));
    }
    std::fill(chunk.begin() + static_cast<ptrdiff_t>(done), chunk.end(), std::byte{0});
    out = out.subspan(chunk.size());
    packed = packed.subspan(2 + length);
  }
  std::fill(out.begin(), out.end(), std::byte{0});
  return {};
}

}  // namespace snaptool::ntfs
