// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/layout.h"

#include <gtest/gtest.h>

namespace snaptool {
namespace {

TEST(Layout, WhereAreasAndDataLie) {
  const Layout layout(8);
  EXPECT_EQ(layout.chunk_bytes(), 4096U);
  EXPECT_EQ(layout.exceptions_per_area(), 256U);
  EXPECT_EQ(layout.area_location(0), 1U);
  EXPECT_EQ(layout.area_location(1), 258U);
  EXPECT_EQ(layout.area_location(2), 515U);
  EXPECT_TRUE(layout.is_metadata(0));
  EXPECT_TRUE(layout.is_metadata(1));
  EXPECT_FALSE(layout.is_metadata(2));
  EXPECT_FALSE(layout.is_metadata(257));
  EXPECT_TRUE(layout.is_metadata(258));
}

TEST(Layout, TheSmallestAndTheLargestChunk) {
  EXPECT_EQ(Layout(1).exceptions_per_area(), 32U);
  EXPECT_EQ(Layout(1).area_location(1), 34U);
  const Layout largest(kMaxChunkSectors);
  EXPECT_EQ(largest.chunk_bytes(), uint64_t{1} << 30);
  EXPECT_EQ(largest.exceptions_per_area(), uint64_t{1} << 26);
}

TEST(Layout, NumbersThatNoFileCanHoldAreNothing) {
  const Layout layout(1);
  EXPECT_EQ(layout.chunk_offset((uint64_t{1} << 54) - 1), (uint64_t{1} << 63) - 512);
  EXPECT_FALSE(layout.chunk_offset(uint64_t{1} << 54));
  EXPECT_FALSE(layout.chunk_offset(UINT64_MAX));
  EXPECT_FALSE(layout.area_location(uint64_t{1} << 50));
  EXPECT_FALSE(layout.area_location(UINT64_MAX));
}

}  // namespace
}  // namespace snaptool
