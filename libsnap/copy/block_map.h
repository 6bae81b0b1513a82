// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/hash.h"

namespace snaptool {

// Which bytes of an image count, and their sums. Nobody cares for the others.
struct BlockMap {
  struct Range {
    uint64_t offset = 0;  // bytes
    uint64_t length = 0;  // bytes, at least 1
    std::string sum;      // its bytes, not digits; empty: there is none
  };

  uint64_t image_size = 0;                 // bytes
  uint64_t block_size = 0;                 // bytes; ranges begin and end where blocks do
  std::optional<HashAlgorithm> algorithm;  // of the sums; nullopt: no range has one
  // They ascend, do not overlap, and end within image_size.
  std::vector<Range> ranges;

  uint64_t mapped_bytes() const {
    uint64_t bytes = 0;
    for (const Range& range : ranges) bytes += range.length;
    return bytes;
  }
};

}  // namespace snaptool
