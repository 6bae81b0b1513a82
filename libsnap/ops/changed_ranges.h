// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "libsnap/base/units.h"

namespace snaptool::ops {

// Where two states of an image differ, to be asked of places. Memory is bounded: of very many
// ranges, those that lie close become one.
class ChangedRanges {
 public:
  // Requires: it begins where the last one ends, or farther.
  void add(uint64_t offset, uint64_t length);
  bool touches(uint64_t offset, uint64_t length) const;
  const std::vector<ByteRange>& ranges() const { return ranges_; }
  // Some bytes in the ranges do not differ.
  bool is_coarse() const { return grain_ > 1; }

 private:
  void coarsen();

  std::vector<ByteRange> ranges_;
  uint64_t grain_ = 1;  // all begin and end at multiples of it
};

// Numbers, of which many follow one another.
class IdSet {
 public:
  void add(uint64_t id);
  // After all are added, before it is asked.
  void seal();
  bool contains(uint64_t id) const;
  struct Run {
    uint64_t first = 0;
    uint64_t last = 0;
  };
  const std::vector<Run>& runs() const { return runs_; }

 private:
  std::vector<Run> runs_;
};

}  // namespace snaptool::ops
