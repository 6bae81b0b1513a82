// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/printable.h"

#include <gtest/gtest.h>

namespace snaptool::test {
namespace {

TEST(Printable, TextStays) {
  for (const char* const text :
       {"", "plain / ünïcode", "日本語 𝄞 é", "\\x1b", "a  b", "\u00a0\ue000"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, WhatDrivesATerminalIsEscaped) {
  EXPECT_EQ(printable("a\nb\tc\r\x1b[2Jd\x7f"), "a\\x0ab\\x09c\\x0d\\x1b[2Jd\\x7f");
  EXPECT_EQ(printable(std::string_view("\0x", 2)), "\\x00x");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // a C1 control
  EXPECT_EQ(printable_lines("a\nb\tc\r\x1b"), "a\nb\tc\\x0d\\x1b");
}

// Unicode 15, table 3-7 and section 23.7; UAX 9 for the bidirectional controls.
TEST(Printable, WhatIsNoTextIsEscapedByteByByte) {
  for (const char* const text : {"\xff",
                                 "\xc3",
                                 "\x80",
                                 "\xc0\x80",
                                 "\xc1\xbf",  // no lead byte, cut, overlong
                                 "\xe0\x80\x80",
                                 "\xe0\x9f\xbf",
                                 "\xf0\x8f\xbf\xbf",  // overlong
                                 "\xed\xa0\x80",
                                 "\xed\xbf\xbf",  // surrogates
                                 "\xf4\x90\x80\x80",
                                 "\xf5\x80\x80\x80",  // beyond 10FFFF
                                 "\uffff",
                                 "\ufffe",
                                 "\U0001fffe",
                                 "\U0010ffff",
                                 "\ufdd0",
                                 "\u2028",
                                 "\u2029",
                                 "\u061c",
                                 "\u200e",
                                 "\u202e",
                                 "\u2066",
                                 "\u2069",
                                 "\ufeff"}) {
    std::string expected;
    for (const char c : std::string_view(text)) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(c);
      expected += std::string("\\x") + kDigits[byte >> 4] + kDigits[byte & 15];
    }
    EXPECT_EQ(printable(text), expected);
    EXPECT_EQ(printable(std::string("a") + text + "z"), "a" + expected + "z");
  }
  EXPECT_EQ(printable("\xe2\x82x"), "\\xe2\\x82x");  // cut in the middle of the text
}

TEST(Printable, NoTwoNamesLookAlike) {
  EXPECT_EQ(printable_name("a b\u00fc"), "a b\u00fc");
  EXPECT_EQ(printable_name("\xff\x1b"), "\\xff\\x1b");
  EXPECT_EQ(printable_name("\\xff"), "\\x5cxff");
  EXPECT_EQ(printable_name("\\"), "\\x5c");
  EXPECT_EQ(printable(printable_name("\\\n\xff")), printable_name("\\\n\xff"));
}

TEST(Printable, Utf8) {
  for (const char* const text : {"", "a\x1b", "\u00fc", "\ufffe", "\U0010ffff"})
    EXPECT_TRUE(is_utf8(text));
  for (const char* const text : {"\xff", "\u00fc\xc3", "\xed\xa0\x80", "\xc0\x80"}) {
    EXPECT_FALSE(is_utf8(text));
  }
}

TEST(Printable, AnExcerptIsShort) {
  EXPECT_EQ(excerpt("short"), "short");
  EXPECT_EQ(excerpt(std::string(100, 'a')), std::string(100, 'a'));
  EXPECT_EQ(excerpt(std::string(101, 'a')), std::string(100, 'a') + "...");
  EXPECT_EQ(excerpt(std::string(99, 'a') + "\u00fcx"), std::string(99, 'a') + "...");
  EXPECT_EQ(excerpt(std::string(200, '\x80')).size(), 4 * 100 + 3U);
}

}  // namespace
}  // namespace snaptool::test
