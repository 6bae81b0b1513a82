// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <span>

namespace snaptool::test {

// What always holds.
inline void require(bool condition) {
  if (!condition) std::abort();
}

// Numbers from a fuzzer's bytes; zeros behind their end.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : data_(data, size) {}

  bool empty() const { return data_.empty(); }
  unsigned byte() {
    if (data_.empty()) return 0;
    const unsigned value = data_.front();
    data_ = data_.subspan(1);
    return value;
  }
  unsigned number() {  // of 16 bits, the lower ones first
    const unsigned low = byte();
    return low | byte() << 8U;
  }

 private:
  std::span<const uint8_t> data_;
};

}  // namespace snaptool::test
