// SPDX-License-Identifier: Apache-2.0
#include "cli/support/stdio.h"

#include <gtest/gtest.h>

namespace snaptool::cli {
namespace {

TEST(Stdio, AReportsLineIsOneLine) {
  EXPECT_EQ(text_line("'{}' has {} bytes", "a\nb\x1b[2Jc", 5), "'a\\x0ab\\x1b[2Jc' has 5 bytes\n");
}

TEST(Stdio, WordsForTheShell) {
  EXPECT_EQ(shell_quoted("/a/b-1.img"), "/a/b-1.img");
  EXPECT_EQ(shell_quoted("it's here"), "'it'\\''s here'");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("a'\\\x1b 1"), "$'a\\'\\\\\\x1b 1'");
}

}  // namespace
}  // namespace snaptool::cli
