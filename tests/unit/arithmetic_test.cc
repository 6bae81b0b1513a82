// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/arithmetic.h"

#include <gtest/gtest.h>

#include <array>

#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

TEST(Arithmetic, SumsAndProductsThatDoNotFitAreNothing) {
  EXPECT_EQ(checked_add(1, 2), 3U);
  EXPECT_EQ(checked_add(UINT64_MAX, 0), UINT64_MAX);
  EXPECT_FALSE(checked_add(UINT64_MAX, 1));
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), 0xffffffff00000000U);
  EXPECT_FALSE(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32));
}

TEST(Arithmetic, RoundingAtTheBorders) {
  EXPECT_EQ(div_round_up(0, 4), 0U);
  EXPECT_EQ(div_round_up(4, 4), 1U);
  EXPECT_EQ(div_round_up(5, 4), 2U);
  EXPECT_EQ(div_round_up(UINT64_MAX, 2), uint64_t{1} << 63);
  EXPECT_EQ(round_down(1023, 512), 512U);
}

TEST(Endian, NumbersAreLittleEndianAtAnyAddress) {
  std::array<std::byte, 16> bytes{};
  store_le<uint64_t>(&bytes[3], 0x0102030405060708);
  EXPECT_EQ(bytes[3], std::byte{8});
  EXPECT_EQ(bytes[10], std::byte{1});
  EXPECT_EQ(load_le<uint64_t>(&bytes[3]), 0x0102030405060708U);
  EXPECT_EQ(load_le<uint32_t>(&bytes[3]), 0x05060708U);
}

}  // namespace
}  // namespace snaptool
