// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "libsnap/base/bytes.h"
#include "libsnap/io/file.h"

namespace snaptool {

// What is worth a hole of its own where chunks are copied: a file system's block at least, since
// less makes none.
inline uint64_t hole_unit(uint64_t chunk_bytes) {
  return std::clamp<uint64_t>(chunk_bytes, 4 * kKiB, 64 * kKiB);
}

// Hands out bytes that belong at `offset` in runs that are all zeros, or not to be left out.
// `unit`: what is looked at as one, bytes; a part of one counts as data. `write(offset, run)` and
// `zero(offset, length)` return Result<void>; the first error ends it.
template <typename Write, typename Zero>
Result<void> visit_zero_runs(uint64_t offset, std::span<const std::byte> bytes, uint64_t unit,
                             const Write& write, const Zero& zero) {
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    bool zeros = false;
    while (end < bytes.size()) {
      const uint64_t next = std::min<uint64_t>(bytes.size(), end + unit - (offset + end) % unit);
      const bool is_zero = next - end == unit && is_all_zero(bytes.subspan(end, unit));
      if (end > at && is_zero != zeros) break;
      zeros = is_zero;
      end = next;
    }
    SNAP_TRY(zeros ? zero(offset + at, uint64_t{end - at})
                   : write(offset + at, bytes.subspan(at, end - at)));
    at = end;
  }
  return {};
}

// Zeroes what of the range is not zeros already, as far as the file's map of holes shows that.
// Requires and errors as File::zero_at.
inline Result<void> zero_outside_holes(File& file, uint64_t offset, uint64_t length,
                                       ZeroMode mode) {
  while (length > 0) {
    SNAP_ASSIGN(const Extent extent, file.extent_at(offset, length));
    if (!extent.zero) SNAP_TRY(file.zero_at(offset, extent.length, mode));
    offset += extent.length;
    length -= extent.length;
  }
  return {};
}

}  // namespace snaptool
