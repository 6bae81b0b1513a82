// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace snaptool::simg {

// The CRC-32 of an image's content, in order. Of a fill, however long, it takes no time.
class OutputSum {
 public:
  void add(std::span<const std::byte> data);
  // So many bytes, of which each four are `value`, little-endian. Requires: a multiple of four.
  void add_fill(uint32_t value, uint64_t length);
  uint32_t value() const { return value_; }

 private:
  uint32_t value_ = 0;
};

}  // namespace snaptool::simg
