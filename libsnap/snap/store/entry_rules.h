// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "libsnap/snap/store/defect.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// What an entry of the list may say, in a store of that layout and size.
class EntryRules {
 public:
  // `cow_chunks`: whole chunks of the COW. `origin_size`, in bytes, bounds the old chunks; without
  // it, they are those that some origin could have, of 2^63 - 1 bytes.
  EntryRules(const Layout& layout, uint64_t cow_chunks, std::optional<uint64_t> origin_size);

  // What is wrong with the old chunk, or with the new chunk, of entry `index` of area `area`.
  std::optional<Finding> old_defect(uint64_t area, uint64_t index, const Exception& entry) const;
  std::optional<Finding> new_defect(uint64_t area, uint64_t index, const Exception& entry) const;

  // A finding about an entry, with its place. Requires: the area lies within a file's limits.
  Finding at(DefectCode code, uint64_t area, uint64_t index, const Exception& entry,
             std::string message) const;

 private:
  Layout layout_;
  uint64_t cow_chunks_;
  bool origin_known_;
  uint64_t origin_chunks_;
};

}  // namespace snaptool
