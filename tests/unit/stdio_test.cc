// SPDX-License-Identifier: Apache-2.0
#include "cli/support/stdio.h"

#include <gtest/gtest.h>

namespace snaptool::cli {
namespace {

TEST(Stdio, MessagesStayOnOneLineAndCannotDriveATerminal) {
  EXPECT_EQ(printable("plain / ünïcode"), "plain / ünïcode");
  EXPECT_EQ(printable("a\nb\x1b[2Jc"), "a\\x0ab\\x1b[2Jc");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // a C1 control
}

TEST(Stdio, WordsForTheShell) {
  EXPECT_EQ(shell_quoted("/a/b-1.img"), "/a/b-1.img");
  EXPECT_EQ(shell_quoted("it's here"), "'it'\\''s here'");
  EXPECT_EQ(shell_quoted(""), "''");
}

}  // namespace
}  // namespace snaptool::cli
