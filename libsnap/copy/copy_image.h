// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Writes bytes [offset, offset + length) of `source` to the start of `target`, in parallel pieces
// of kIoPiece. Ranges that are known to be zero are not written when `target_zeroed` says that the
// target reads as zeros already (so holes stay holes); otherwise they are zeroed, not written.
// Requires: target.size() >= length. Errors: those of Image and File; kInterrupted. Flushes
// nothing.
Result<void> copy_image(Image& source, uint64_t offset, uint64_t length, File& target,
                        bool target_zeroed, const Job& job);

// Hands the same bytes, in order, to `sink`, in pieces of at most kIoPiece; holes are handed over
// as zeros. Errors: those of Image and of the sink; kInterrupted.
Result<void> stream_image(Image& source, uint64_t offset, uint64_t length,
                          const std::function<Result<void>(std::span<const std::byte>)>& sink,
                          const Job& job);

}  // namespace snaptool
