// SPDX-License-Identifier: Apache-2.0
#include "cli/support/operands.h"
#include "libsnap/access/spec.h"

#include <gtest/gtest.h>

#include <fstream>

#include "libsnap/base/units.h"
#include "tests/support/scratch.h"

namespace snaptool::cli {
namespace {

class Spec : public testing::Test {
 protected:
  std::string make(const std::string& name) {
    const std::string path = (scratch_.path() / name).string();
    std::ofstream(path) << "x";
    return path;
  }
  test::Scratch scratch_;
};

std::vector<std::string> names(const std::vector<access::FileSpec>& specs) {
  std::vector<std::string> names;
  for (const access::FileSpec& spec : specs) names.push_back(spec.name());
  return names;
}

TEST_F(Spec, LayersFromLeftToRight) {
  const std::string a = make("a");
  const std::string b = make("b");
  const std::string c = make("c");
  const auto spec = access::parse_image_spec(a + "@" + b + "@" + c);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->base.name(), a);
  EXPECT_EQ(names(spec->stores), (std::vector<std::string>{b, c}));
}

TEST_F(Spec, TheLongestExistingFileIsTheFile) {
  const std::string a = make("a");
  const std::string odd = make("a@b");
  const std::string b = make("b");
  EXPECT_EQ(access::parse_image_spec(odd)->base.name(), odd);
  EXPECT_TRUE(access::parse_image_spec(odd)->stores.empty());
  const auto spec = access::parse_image_spec(odd + "@" + b);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->base.name(), odd);
  EXPECT_EQ(names(spec->stores), (std::vector<std::string>{b}));
  EXPECT_EQ(access::parse_image_spec("file:" + odd)->base.path(), odd);
  EXPECT_EQ(access::parse_image_spec("file:" + a + "@" + b)->base.path(), a + "@" + b);
}

TEST_F(Spec, WhatIsMissingIsNamed) {
  const std::string a = make("a");
  const auto missing = access::parse_image_spec(a + "@" + (scratch_.path() / "none").string());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(missing.error().describe().find("none"), std::string::npos);
  EXPECT_FALSE(access::parse_image_spec(""));
  EXPECT_FALSE(access::parse_image_spec("@"));
  EXPECT_FALSE(access::parse_image_spec(a + "@"));
}

TEST_F(Spec, PartsFromLeftToRight) {
  const std::string a = make("a");
  const std::string b = make("b");
  const std::string c = make("c");
  const auto parts = access::parse_image_spec(a + "#p2#vg0/data");
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->base.parts.size(), 2U);
  EXPECT_EQ(parts->base.parts[0].number, 2U);
  EXPECT_EQ(parts->base.volume()->group, "vg0");
  EXPECT_EQ(parts->base.volume()->volume, "data");
  EXPECT_EQ(parts->base.name(), a + "#p2#vg0/data");

  const auto slice = access::parse_image_spec(a + "#+1M,4k@" + b);
  ASSERT_TRUE(slice);
  EXPECT_EQ(slice->base.parts.at(0).offset, kMiB);
  EXPECT_EQ(slice->base.parts.at(0).length, 4 * kKiB);
  EXPECT_EQ(names(slice->stores), (std::vector<std::string>{b}));
  EXPECT_EQ(access::parse_image_spec(a + "#+8s")->base.parts.at(0).offset, 4096U);

  const auto group = access::parse_image_spec(a + "#p1," + b + "#+1M," + c + "#vg/lv");
  ASSERT_TRUE(group);
  ASSERT_EQ(group->base.sources.size(), 3U);
  EXPECT_EQ(group->base.sources[0].parts.at(0).number, 1U);
  EXPECT_FALSE(group->base.sources[1].parts.at(0).length);
  EXPECT_EQ(group->base.parts.at(0).text, "vg/lv");
  EXPECT_EQ(group->base.name(), a + "#p1," + b + "#+1M," + c + "#vg/lv");

  const auto view = access::parse_image_spec(a + "@" + b + "#p1");
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->base.parts.empty());
  EXPECT_EQ(view->view_parts.at(0).number, 1U);
}

TEST_F(Spec, PartsThatAreNone) {
  const std::string a = make("a");
  const std::string b = make("b");
  for (const char* part : {"#", "#p", "#p0", "#px", "#p1x", "#q1", "#+", "#+x", "#+1,", "#/", "#a/",
                           "#/b", "#a/b/c", "#vg", "#p99999999999"}) {
    const auto spec = access::parse_image_spec(a + part);
    EXPECT_FALSE(spec) << part;
  }
  EXPECT_FALSE(access::parse_image_spec(a + "@" + b + "#p1@" + b));
  EXPECT_FALSE(access::parse_image_spec(a + "#+1,2,3"));
}

TEST_F(Spec, NamesWithCommasAndHashesAreFilesWhereTheyExist) {
  const std::string a = make("a");
  const std::string b = make("b");
  const std::string odd = make("a,b#p1");
  EXPECT_TRUE(access::parse_image_spec(odd)->base.is_whole_file());
  EXPECT_EQ(access::parse_image_spec(odd)->base.path(), odd);
  EXPECT_EQ(operand_for(access::parse_image_spec(odd)->base), "'file:" + odd + "'");
}

TEST_F(Spec, OriginAndCow) {
  const std::string a = make("a");
  const std::string b = make("b");
  EXPECT_EQ(names(access::parse_origin_and_cow({a, b})->stores), (std::vector<std::string>{b}));
  EXPECT_EQ(names(access::parse_origin_and_cow({a + "@" + b})->stores),
            (std::vector<std::string>{b}));
  EXPECT_TRUE(access::parse_origin_and_cow({a})->stores.empty());
  EXPECT_FALSE(access::parse_origin_and_cow({a, a + "@" + b}));
}

}  // namespace
}  // namespace snaptool::cli
