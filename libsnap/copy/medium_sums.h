// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/base/sha256.h"
#include "libsnap/base/units.h"
#include "libsnap/io/file.h"

namespace snaptool {

// The SHA-256 of each of these places, as they are read past the page cache, from job.jobs threads.
// Places that lie near each other are read at once, with what lies between them. Requires: each has
// at most kIoPiece bytes; `file` was flushed since it was written. Memory: 70 bytes a place at most.
// Errors: those of File, with the place; kInterrupted.
Result<std::vector<Sha256::Digest>> medium_sums(File& file, std::span<const ByteRange> places,
                                                const Job& job);

}  // namespace snaptool
