// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "cli/report/comparison.h"

namespace snaptool::cli {

// Tells in which partition or volume a range lies.
class RegionFinder {
 public:
  RegionFinder() = default;
  explicit RegionFinder(const std::vector<ReportRegion>& regions);

  struct Place {
    size_t region = 0;    // its index
    uint64_t offset = 0;  // of the range, in the region, bytes
  };
  // The innermost region that holds all of the range in one piece; nothing: none does.
  // Requires: ranges are asked for in ascending order.
  std::optional<Place> find(const ByteRange& range);

 private:
  struct Piece {
    ByteRange range;
    Place place;
    int depth = 0;
  };
  std::vector<Piece> pieces_;  // by their offsets
  size_t next_ = 0;
  std::vector<Piece> open_;  // those that may reach to the next range
};

}  // namespace snaptool::cli
