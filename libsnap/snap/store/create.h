// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// The smallest COW, in bytes, that holds `exceptions` exceptions: header, areas, data, and behind
// the last full area the one that must follow it. Errors: kInvalidArgument when that is beyond
// what a file can have.
Result<uint64_t> store_size_for(const Layout& layout, uint64_t exceptions);

// `size` without what a store could never use at its end: a part chunk, and a last chunk that would
// fill an area whose successor does not fit (filling it makes the kernel invalidate the snapshot).
// At least 2 chunks, or 0 when it holds no store.
uint64_t usable_store_size(const Layout& layout, uint64_t size);

// Writes an empty store. Requires: cow.size() is at least 2 chunks.
// Crash: `cow` is as it was, or no store (magic 0), or the empty store; never one whose area 0 is
// junk. Errors: kIo, kNoSpace.
Result<void> create_store(File& cow, const Layout& layout);

// The least size, in bytes, that the store can be cut to without losing anything or becoming
// unreadable. Errors: kCorruption, kInvalidated for a store that is not sound, or has entries
// behind the end of its list, whose data may be all that is left of them; kIo; kInterrupted.
Result<uint64_t> minimum_store_size(File& cow, const Cancel& cancel);

}  // namespace snaptool
