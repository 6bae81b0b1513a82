// SPDX-License-Identifier: Apache-2.0
#include "formats/simg/checksum.h"

#include <array>

#include "libsnap/base/check.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"

namespace snaptool::simg {
namespace {

constexpr uint32_t kPolynomial = 0xedb88320;

// The product of two polynomials modulo that of the sum. Bit 31 is x^0, as in the sum itself.
uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; a != 0; a <<= 1U) {
    if ((a & 0x80000000U) != 0) product ^= b;
    b = (b >> 1U) ^ ((b & 1U) != 0 ? kPolynomial : 0);  // times x
  }
  return product;
}

}  // namespace

void OutputSum::add(std::span<const std::byte> data) { value_ = crc32(data, value_); }

// The sum of A followed by B is that of A, times x^(bits of B), plus that of B. So the sums of 1,
// 2, 4, 8 ... words are known each from the one before, and what is added are those that the number
// of words consists of.
void OutputSum::add_fill(uint32_t value, uint64_t length) {
  SNAP_CHECK(length % sizeof value == 0);
  std::array<std::byte, sizeof value> word{};
  store_le(word.data(), value);
  uint32_t sum = crc32(word);
  uint32_t shift = kPolynomial;  // x^32, of one word
  for (uint64_t words = length / sizeof value; words > 0; words >>= 1U) {
    if ((words & 1U) != 0) value_ = multiply(shift, value_) ^ sum;
    sum ^= multiply(shift, sum);
    shift = multiply(shift, shift);
  }
}

}  // namespace snaptool::simg
