// SPDX-License-Identifier: Apache-2.0
#include "cli/report/region_finder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "tests/support/seed.h"

namespace snaptool::cli {
namespace {

// Where the range may be found: in the smallest piece that holds all of it, the deepest of those.
std::vector<std::pair<size_t, uint64_t>> naive_places(const std::vector<ReportRegion>& regions,
                                                      const ByteRange& range) {
  std::vector<std::tuple<uint64_t, int, size_t, uint64_t>> holding;
  for (size_t i = 0; i < regions.size(); ++i) {
    for (const auto& [piece, offset] : regions[i].pieces) {
      if (piece.offset > range.offset ||
          range.offset + range.length > piece.offset + piece.length) {
        continue;
      }
      holding.emplace_back(piece.length, -regions[i].depth, i,
                           offset + range.offset - piece.offset);
    }
  }
  std::vector<std::pair<size_t, uint64_t>> places;
  if (holding.empty()) return places;
  const auto best = std::ranges::min(holding);
  for (const auto& [length, depth, index, offset] : holding) {
    if (length == std::get<0>(best) && depth == std::get<1>(best)) {
      places.emplace_back(index, offset);
    }
  }
  return places;
}

TEST(RegionFinder, AgreesWithANaiveOne) {
  std::mt19937_64 random(test::run_seed());
  const auto below = [&](uint64_t limit) { return random() % limit; };
  for (int n = 0; n < test::case_count(500); ++n) {
    std::vector<ReportRegion> regions(below(8));
    for (ReportRegion& region : regions) {
      region.depth = static_cast<int>(below(4));
      for (uint64_t pieces = 1 + below(4); pieces > 0; --pieces) {
        region.pieces.push_back({{below(60), 1 + below(40)}, below(1000)});
      }
    }
    RegionFinder finder(regions);
    for (uint64_t at = below(5); at < 110;) {
      const ByteRange range{at, 1 + below(12)};
      const auto found = finder.find(range);
      const auto expected = naive_places(regions, range);
      ASSERT_EQ(found.has_value(), !expected.empty()) << n << " at " << at;
      if (found) {
        EXPECT_EQ(std::ranges::count(expected, std::pair(found->region, found->offset)), 1)
            << n << " at " << at;
      }
      at += range.length + below(6);
    }
  }
}

TEST(RegionFinder, KnowsAVolumeThatFillsItsPartition) {
  const ReportRegion partition{"#p1", 1, {{{100, 50}, 0}}, ""};
  const ReportRegion volume{"#p1#vg0/data", 3, {{{100, 50}, 4096}}, ""};
  for (const bool volume_first : {false, true}) {
    RegionFinder finder(volume_first ? std::vector{volume, partition}
                                     : std::vector{partition, volume});
    const auto place = finder.find({110, 40});
    ASSERT_TRUE(place.has_value());
    EXPECT_EQ(place->region, volume_first ? 0U : 1U);
    EXPECT_EQ(place->offset, 4106U);
    EXPECT_FALSE(finder.find({149, 2}).has_value());
    EXPECT_FALSE(finder.find({150, 1}).has_value());
  }
}

}  // namespace
}  // namespace snaptool::cli
