// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/ops/file_judge.h"
#include "libsnap/ops/space_use.h"

namespace snaptool::ops {

// One of the two states that are compared.
struct StateOwners {
  access::FileSystem& files;
  Owners& owners;
};

// The nodes that may differ between two states that differ in `changed`: those that lie there, and
// those whose bytes or structures do. Where only bytes of the first kind differ, no other node is
// read. Fills and seals the owners of both. Requires: nodes have stable numbers, and both states
// one layout. Errors: those of FileSystem, without damage, which is noted; kInterrupted.
Result<IdSet> find_touched(const ChangedRanges& changed, const StateOwners& before,
                           const StateOwners& after, Problems& problems, const Cancel& cancel);

}  // namespace snaptool::ops
