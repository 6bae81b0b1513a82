// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

// Entries behind the terminator, and the first of them (in the origin's order) whose data the
// origin does not have.
struct TailCheck {
  uint64_t entries = 0;
  std::optional<Exception> missing;
};

// Whether the entry's chunks are in the store's file and in an origin of so many bytes.
bool lies_within(const PersistentStore& store, const Exception& entry, uint64_t origin_size);

// Whether the origin has at `target` the store's bytes from `source` on. Offsets are bytes.
// Errors: those of File::read_at and Image::read_medium; kInterrupted.
Result<bool> has_data_of(Image& origin, uint64_t target, PersistentStore& store, uint64_t source,
                         uint64_t length, const Cancel& cancel);

// Whether what an entry behind the end of the list adds to `origin` is kept elsewhere, by whoever
// wrote it: a command that a power cut stopped within a commit, and that runs again.
using TailKeeper =
    std::function<Result<bool>(Image& origin, PersistentStore& store, const Exception& entry)>;

// Looks whether what lies behind the end of the list may be cleared. An interrupted merge leaves
// entries there whose data the origin has already; a list whose beginning was wiped, or a commit
// that a power cut tore, leaves such that are somebody's only copy, unless `keeper` has them.
// Requires: read_metadata succeeded. Errors: kIo, kInterrupted; those of `keeper`.
Result<TailCheck> check_tail(PersistentStore& store, Image& origin, const Cancel& cancel,
                             const TailKeeper& keeper = {});

// The same as a sentence, of a store with entries behind its end; nothing where they may be
// cleared. Errors: as check_tail.
Result<std::optional<std::string>> doubt_of_tail(PersistentStore& store, Image& origin,
                                                 const Cancel& cancel);

}  // namespace snaptool
