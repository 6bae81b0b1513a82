// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/crc32c.h"

#include <array>

namespace snaptool {
namespace {

constexpr std::array<uint32_t, 256> crc32c_table() {
  constexpr uint32_t kPolynomial = 0x82f63b78;
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr auto kCrc32cTable = crc32c_table();

}  // namespace

uint32_t crc32c(std::span<const std::byte> data, uint32_t crc) {
  crc = ~crc;
  for (const std::byte byte : data) {
    crc = crc >> 8U ^ kCrc32cTable[(crc ^ std::to_integer<uint32_t>(byte)) & 0xffU];
  }
  return ~crc;
}

}  // namespace snaptool
