// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/units.h"

#include <gtest/gtest.h>

namespace snaptool {
namespace {

TEST(Units, SizesOfTheContract) {
  EXPECT_EQ(*parse_size("4096"), 4096U);
  EXPECT_EQ(*parse_size("4k"), 4096U);
  EXPECT_EQ(*parse_size("4K"), 4096U);
  EXPECT_EQ(*parse_size("64KiB"), 65536U);
  EXPECT_EQ(*parse_size("1M"), 1048576U);
  EXPECT_EQ(*parse_size("2G"), uint64_t{2} << 30);
  EXPECT_EQ(*parse_size("1T"), uint64_t{1} << 40);
  EXPECT_EQ(*parse_size("8s"), 4096U);
  EXPECT_EQ(*parse_size("0"), 0U);
  EXPECT_EQ(*parse_size("9223372036854775807"), kMaxFileSize);
}

TEST(Units, AnythingElseIsAnError) {
  for (const char* text :
       {"", "k", "-1", "+1", " 1", "1 k", "1.5k", "0x10", "4kb", "4KB", "4kiBB", "4S", "1Z",
        "9223372036854775808", "18446744073709551616", "9E", "16E"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Units, SizesForPeople) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1536), "1.50 KiB");
  EXPECT_EQ(format_size(20 * kMiB), "20.0 MiB");
}

}  // namespace
}  // namespace snaptool
