// SPDX-License-Identifier: Apache-2.0
#include "cli/support/option.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/support/command_table.h"
#include "cli/support/remedy.h"

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

// The options that a text names, outside of the commands that it quotes.
std::vector<std::string> options_named(std::string_view text) {
  std::vector<std::string> named;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool at_word = i == 0 || text[i - 1] == ' ';
    if (text[i] == '\'' && (quoted || at_word)) quoted = !quoted;
    if (quoted || !at_word || text[i] != '-') continue;
    named.emplace_back(text.substr(i, text.find_first_of(" ;,=", i) - i));
  }
  return named;
}

TEST(Remedies, NameOnlyOptionsThatTheCommandHas) {
  ASSERT_EQ(options_named("-f raw, 'snaptool x --y z' or --force"),
            (std::vector<std::string>{"-f", "--force"}));
  size_t checked = 0;
  for (const CommandSpec& command : command_table()) {
    for (int i = 0; i <= static_cast<int>(Remedy::kLeaveSandbox); ++i) {
      const auto words = remedy_words(static_cast<Remedy>(i), command.name);
      for (const std::string& name : options_named(words)) {
        const auto options = all_options(command);
        EXPECT_TRUE(std::any_of(options.begin(), options.end(),
                                [&](const OptionSpec& one) {
                                  return name == "--" + std::string(one.long_name) ||
                                         (one.short_name != 0 &&
                                          name == std::string("-") + one.short_name);
                                }))
            << command.name << ": " << words;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 50U);
}

}  // namespace
}  // namespace snaptool::cli
