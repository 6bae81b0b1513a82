// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/extent_map.h"

#include <algorithm>
#include <iterator>

#include "libsnap/base/check.h"

namespace snaptool {

Result<ExtentMap::Run> ExtentMap::run_at(uint64_t offset, uint64_t limit) {
  constexpr size_t kMostKnown = 4096;
  SNAP_CHECK(offset < file_.size() && limit > 0);
  const std::lock_guard lock(mutex_);
  auto next = known_.upper_bound(offset);
  if (next != known_.begin()) {
    const auto& [start, known] = *std::prev(next);
    if (offset < known.end) return Run{std::min(limit, known.end - offset), known.hole};
  }
  SNAP_ASSIGN(const Extent extent, file_.extent_at(offset, file_.size() - offset));
  if (known_.size() == kMostKnown) known_.clear();
  known_[offset] = {offset + extent.length, extent.zero};
  return Run{std::min(limit, extent.length), extent.zero};
}

}  // namespace snaptool
