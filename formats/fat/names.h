// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "formats/fat/layout.h"

namespace snaptool::fat {

// Long names, which lie in slots before their entry, the last part first. Pure: over slots.
class LongName {
 public:
  // The next slot, which is a part of one.
  void add(Bytes slot);
  // The name of the entry in that slot, which comes next; empty: the parts before it are not its
  // own, and its short name is all that it has. What was added is forgotten.
  std::string take(Bytes slot);

 private:
  bool belongs_to(Bytes slot) const;

  std::vector<std::byte> parts_;  // as they came
  unsigned left_ = 0;             // those that are still to come; of deleted ones nobody knows
  uint8_t sum_ = 0;
  bool is_deleted_ = false;
};

// Whether that part of a long name is the first one of the entry in that slot.
bool is_first_part_of(Bytes part, Bytes slot);

}  // namespace snaptool::fat
