// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ntfs/files.h"

namespace snaptool::ntfs {

// The entries of a folder's index, block by block: the tree is not followed, so that none can
// loop.

struct IndexEntry {
  Reference file;
  FileName name;
  bool deleted = false;  // it lies where nothing is now
};
using VisitIndexEntry = std::function<Result<void>(const IndexEntry&)>;

// Every entry of the folder. What is damaged is noted and left out. Errors: those of visit and of
// Image; kInterrupted.
Result<void> visit_index(Volume& volume, StreamReader& reader, const File& folder, bool deleted,
                         Damage& damage, const VisitIndexEntry& visit);

// Of what follows a node's head. Pure. `used`: bytes up to the end of its entries.
Result<void> visit_node_entries(Bytes node, size_t from, size_t used, uint64_t folder,
                                Damage& damage, const VisitIndexEntry& visit);
Result<void> visit_node_slack(Bytes slack, uint64_t folder, const VisitIndexEntry& visit);

}  // namespace snaptool::ntfs
