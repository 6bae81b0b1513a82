// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libsnap/io/file.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// Writes the metadata of a whole store: the list, from its first entry on, and last the header.
//
// On a target that is not `zeroed` (elsewhere than where it was just made) everything that must be
// zeros is written. Crash: such a target is no store, or the whole store.
class ListWriter {
 public:
  // Requires: `target` outlives this.
  ListWriter(File& target, const Layout& layout, bool zeroed)
      : target_(target), layout_(layout), zeroed_(zeroed) {}

  // To be called first: what there was is no store any more. Errors: those of File.
  Result<void> begin();
  // Errors: kNoSpace when an area would lie beyond the target's end; those of File.
  Result<void> append(std::span<const Exception> entries);
  uint64_t entries() const { return entries_; }
  // Ends the list. The data must be written by then. Not flushed. Errors: as append.
  Result<void> finish(const DiskHeader& header);

 private:
  Result<uint64_t> area_offset(uint64_t area) const;

  File& target_;
  Layout layout_;
  bool zeroed_;
  uint64_t entries_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace snaptool
