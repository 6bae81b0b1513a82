// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "formats/ext/volume.h"

namespace snaptool::ext {

// Blocks that lie together in a file and in the image.
struct BlockRun {
  uint64_t first = 0;   // in the file
  uint64_t length = 0;  // blocks, at least 1
  // In the image; nothing: they are allocated, but were never written, and are zeros.
  std::optional<uint64_t> place;
};

// Of a file, a folder or a long link, in order: from the run on that holds the block `from` or
// comes next after it. visit returns whether to go on. Time grows with what is stored of the map,
// and no faster than the image. Errors: kCorruption; kInterrupted; those of Image and of visit.
Result<void> walk_blocks(Volume& volume, const Inode& inode, uint64_t from,
                         const std::function<Result<bool>(const BlockRun&)>& visit);
// The blocks that say where all those lie.
Result<void> walk_map_blocks(Volume& volume, const Inode& inode,
                             const std::function<Result<void>(uint64_t block)>& visit);

}  // namespace snaptool::ext
