// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/progress.h"
#include "libsnap/copy/block_map.h"
#include "libsnap/io/image.h"

namespace snaptool::ops {

// Whether the image is the one that the map is of: reads all that is mapped, from job.jobs threads,
// and compares the sums that there are. It may be longer than the map says, as formats round sizes
// up, if there are zeros only. Memory does not grow with the image or the ranges. Progress: bytes
// that are mapped. Errors: kCorruption, with the range; those of Image; kInterrupted.
Result<void> check_mapped(Image& source, const BlockMap& map, const Job& job);

// Writes what is mapped to the same places of the target, zeros, too, and nothing else; compares
// the sums once more. A range of which the sum is wrong may have been written in part. Reads and
// writes in parallel pieces of kIoPiece, which are hashed in order. Progress: bytes that are
// mapped. Requires: target.size() >= map.image_size. Errors: as check_mapped, and those of File.
// Flushes nothing.
Result<void> copy_mapped(Image& source, const BlockMap& map, File& target, const Job& job);

}  // namespace snaptool::ops
