// SPDX-License-Identifier: Apache-2.0
#include "cli/support/option.h"

#include <gtest/gtest.h>

#include "cli/support/command_table.h"

namespace snaptool::cli {
namespace {

Result<ParsedOptions> parse(const std::vector<std::string>& arguments) {
  return parse_options(all_options(*find_command("merge")), arguments);
}

TEST(Options, ShortLongAndOperands) {
  const auto parsed = parse({"-qp", "a", "-j4", "--expect=00", "b", "-o", "x", "--", "-v"});
  ASSERT_TRUE(parsed) << parsed.error().describe();
  EXPECT_TRUE(parsed->has("quiet"));
  EXPECT_TRUE(parsed->has("progress"));
  EXPECT_EQ(parsed->value("jobs"), "4");
  EXPECT_EQ(parsed->value("expect"), "00");
  EXPECT_EQ(parsed->value("out"), "x");
  EXPECT_FALSE(parsed->has("verbose"));
  EXPECT_EQ(parsed->operands(), (std::vector<std::string>{"a", "b", "-v"}));
}

TEST(Options, ProgressEatsNothing) {
  for (const char* form : {"-p", "--progress"}) {
    const auto parsed = parse({form, "origin", "cow"});
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->value("progress"), "") << form;
    EXPECT_EQ(parsed->operands(), (std::vector<std::string>{"origin", "cow"})) << form;
  }
  const auto parsed = parse({"--progress=jsonl:3", "origin"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->value("progress"), "jsonl:3");
  EXPECT_EQ(parsed->operands(), (std::vector<std::string>{"origin"}));
}

TEST(Options, StandardInputIsAnOperand) {
  const auto parsed = parse({"-", "-o", "-"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->operands(), (std::vector<std::string>{"-"}));
  EXPECT_EQ(parsed->value("out"), "-");
}

TEST(Options, WhatIsRefused) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--dry"},          // an abbreviation
           {"--dry-run=yes"},  // a flag with a value
           {"--nonsense"},
           {"-x"},
           {"--progress=bar", "--progress"},
           {"--expect"},       // its value is missing
           {"-q", "--quiet"},  // twice
           {"--output=xml"},
           {"--DRY-RUN"},
           {"--%original_token%"},  // placeholders of Boost's messages
           {"--nonsense=%option%"},
           {"--dry-run=%value%"},
           {"-%prefix%"},
           {"--jobs="},
       }) {
    const auto parsed = parse(arguments);
    ASSERT_FALSE(parsed) << arguments[0];
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(Options, MessagesNameTheOption) {
  const auto message = [](const std::vector<std::string>& arguments) {
    return parse(arguments).error().describe();
  };
  EXPECT_EQ(message({"--nonsense"}), "unrecognised option '--nonsense'");
  EXPECT_EQ(message({"--%option%=1"}), "unrecognised option '--%option%=1'");
  EXPECT_EQ(message({"-x"}), "unrecognised option '-x'");
  EXPECT_EQ(message({"--expect"}), "option '--expect' needs a value");
  EXPECT_EQ(message({"--dry-run=yes"}), "option '--dry-run' takes no value");
}

}  // namespace
}  // namespace snaptool::cli
