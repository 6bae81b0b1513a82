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

TEST(Units, WhatTheProgramPrintsIsTaken) {
  EXPECT_EQ(*parse_size("0x6f3000"), 0x6f3000U);
  EXPECT_EQ(*parse_size("0X1e"), 30U);
  EXPECT_EQ(*parse_size("0x7fffffffffffffff"), kMaxFileSize);
  EXPECT_EQ(*parse_size("1.50 KiB"), 1536U);
  EXPECT_EQ(*parse_size("512 B"), 512U);
}

TEST(Units, Fractions) {
  EXPECT_EQ(*parse_size("1.5k"), 1536U);
  EXPECT_EQ(*parse_size("1.5M"), 1536U << 10);
  EXPECT_EQ(*parse_size("0.5s"), 256U);
  EXPECT_EQ(*parse_size("2.000"), 2U);
  EXPECT_EQ(*parse_size("1.0009765625k"), 1025U);
  EXPECT_EQ(*parse_size("7.999999999999999999EB"), 7999999999999999999U);
}

// As in dd and truncate of coreutils: "MB" is 1000 * 1000.
TEST(Units, PowersOf1000) {
  EXPECT_EQ(*parse_size("1kB"), 1000U);
  EXPECT_EQ(*parse_size("1KB"), 1000U);
  EXPECT_EQ(*parse_size("1MB"), 1000000U);
  EXPECT_EQ(*parse_size("1.5GB"), 1500000000U);
  EXPECT_EQ(*parse_size("9EB"), 9000000000000000000U);
}

TEST(Units, AnythingElseIsAnError) {
  for (const char* text : {"",
                           "k",
                           "-1",
                           "+1",
                           " 1",
                           "1  k",
                           "1 ",
                           ".5k",
                           "1.k",
                           "1.",
                           "1.5",
                           "1.3k",
                           "1.5.5k",
                           "1.0000000000000000001E",
                           "0x",
                           "0x10k",
                           "0x10 B",
                           "0x1.8",
                           "x10",
                           "4kb",
                           "4kiBB",
                           "4kBB",
                           "4S",
                           "1Z",
                           "1ZB",
                           "9223372036854775808",
                           "0x8000000000000000",
                           "0x10000000000000000",
                           "18446744073709551616",
                           "9E",
                           "10EB",
                           "8.5E",
                           "16E"}) {
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
