// SPDX-License-Identifier: Apache-2.0
#include "cli/support/script.h"

#include <gtest/gtest.h>

#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

using Words = std::vector<std::string>;

TEST(Script, SplitsWordsAsAShellDoes) {
  EXPECT_EQ(*split_words(""), Words{});
  EXPECT_EQ(*split_words("  \t # all of it"), Words{});
  EXPECT_EQ(*split_words("write a 0 4k # there"), (Words{"write", "a", "0", "4k"}));
  EXPECT_EQ(*split_words("a#b c\r"), (Words{"a#b", "c"}));
  EXPECT_EQ(*split_words(R"(-i "a b" 'c"d' e\ f "g\"h" '')"),
            (Words{"-i", "a b", "c\"d", "e f", "g\"h", ""}));
  EXPECT_FALSE(split_words("'open"));
  EXPECT_FALSE(split_words("\"open"));
}

TEST(Script, ParsesEachCommand) {
  const auto write = parse_script_command({"write", "s1", "8s", "4k", "-P", "0x7f"});
  ASSERT_TRUE(write);
  EXPECT_EQ(write->verb, ScriptCommand::Verb::kWrite);
  EXPECT_EQ(write->names, Words{"s1"});
  EXPECT_EQ(write->offset, 4096U);
  EXPECT_EQ(write->length, 4096U);
  EXPECT_EQ(write->options.value("pattern"), "0x7f");
  const auto origin = parse_script_command({"write-origin", "0", "512", "-i", "f"});
  ASSERT_TRUE(origin);
  EXPECT_TRUE(origin->names.empty());
  const auto read = parse_script_command({"read", "a", "0", "512", "-o", "f", "--sha256"});
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->options.has("sha256"));
  const auto handover = parse_script_command({"handover", "a", "b"});
  ASSERT_TRUE(handover);
  EXPECT_EQ(handover->names, (Words{"a", "b"}));
  for (const Words& words : std::vector<Words>{
           {"discard", "a", "0", "512"}, {"status", "a"}, {"merge", "a"}, {"flush"}}) {
    EXPECT_TRUE(parse_script_command(words)) << words.front();
  }
}

TEST(Script, RefusesWhatIsNone) {
  for (const Words& words :
       std::vector<Words>{{"nonsense"},
                          {"write", "a", "0", "512"},                        // no data
                          {"write", "a", "0", "512", "-P", "1", "-i", "f"},  // twice
                          {"write", "a", "0", "513", "-P", "1"},             // no whole sector
                          {"write", "a", "1", "512", "-P", "1"},
                          {"write", "a", "-512", "512", "-P", "1"},
                          {"write", "a", "0", "99999999999999999999", "-P", "1"},
                          {"write-origin", "a", "0", "512", "-P", "1"},
                          {"status"},
                          {"status", "a", "b"},
                          {"handover", "a"},
                          {"flush", "a"},
                          {"read", "a", "0", "512", "--nonsense"}}) {
    const auto parsed = parse_script_command(words);
    ASSERT_FALSE(parsed) << words.front();
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
  }
}

TEST(Writing, ChunkSizes) {
  EXPECT_EQ(*ops::parse_chunk_size("512"), 512U);
  EXPECT_EQ(*ops::parse_chunk_size("8s"), 4096U);
  EXPECT_EQ(*ops::parse_chunk_size("512M"), 512 * kMiB);
  for (const char* bad : {"0", "2G", "3k", "513", "x", ""}) EXPECT_FALSE(ops::parse_chunk_size(bad));
  const auto asked = ops::parse_chunk_size("8");
  ASSERT_FALSE(asked);
  EXPECT_NE(asked.error().describe().find("8s or 8k?"), std::string::npos);
}

}  // namespace
}  // namespace snaptool::cli
