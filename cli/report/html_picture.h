// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <set>
#include <string>
#include <vector>

#include "cli/report/comparison.h"

namespace snaptool::cli {

// What became of a range.
enum class RangeKind : size_t { kChanged, kZeroed, kOnlyInOne };
inline constexpr size_t kRangeKinds = 3;
std::string_view name_of(RangeKind kind);  // "now zeros"

// Pictures in SVG of where two images differ, with partitions and volumes below.
class ChangePicture {
 public:
  explicit ChangePicture(const ReportHead& head);

  RangeKind kind_of(const ReportRange& range) const;
  void add(const ReportRange& range);
  uint64_t size() const { return size_; }  // of the larger image, bytes

  static std::string legend();
  // All of the images; its parts link to the close-ups.
  std::string overview() const;
  size_t close_ups() const;
  std::string close_up(size_t section) const;

 private:
  using Bin = std::array<double, kRangeKinds>;  // changed bytes

  size_t bin_of(uint64_t offset) const;
  double start_of(size_t bin) const;
  std::string draw(size_t from, size_t to, size_t merge, std::string_view links) const;
  std::string links() const;
  std::string tail(double from, double to) const;
  std::string regions(double from, double to, int& rows) const;

  std::vector<ReportRegion> regions_;
  std::set<int> depths_;  // of the regions
  uint64_t size_;
  uint64_t common_;  // bytes that both have
  bool same_size_;
  std::vector<Bin> bins_;
};

}  // namespace snaptool::cli
