// SPDX-License-Identifier: Apache-2.0
#include "cli/report/region_finder.h"

#include <algorithm>
#include <tuple>

namespace snaptool::cli {

RegionFinder::RegionFinder(const std::vector<ReportRegion>& regions) {
  for (size_t i = 0; i < regions.size(); ++i) {
    for (const ReportRegion::Piece& piece : regions[i].pieces) {
      pieces_.push_back({piece.range, {i, piece.offset}, regions[i].depth});
    }
  }
  std::ranges::sort(pieces_, {}, [](const Piece& piece) { return piece.range.offset; });
}

std::optional<RegionFinder::Place> RegionFinder::find(const ByteRange& range) {
  for (; next_ < pieces_.size() && pieces_[next_].range.offset <= range.offset; ++next_) {
    open_.push_back(pieces_[next_]);
  }
  std::erase_if(open_, [&](const Piece& piece) {
    return range.offset - piece.range.offset >= piece.range.length;
  });
  const Piece* found = nullptr;
  // A volume may fill its partition, so the depth decides between pieces of one length.
  const auto order = [](const Piece& piece) {
    return std::tuple(piece.range.length, -piece.depth);
  };
  for (const Piece& piece : open_) {
    const uint64_t left = piece.range.length - (range.offset - piece.range.offset);
    if (left >= range.length && (found == nullptr || order(piece) < order(*found))) found = &piece;
  }
  if (found == nullptr) return {};
  return Place{found->place.region, found->place.offset + (range.offset - found->range.offset)};
}

}  // namespace snaptool::cli
