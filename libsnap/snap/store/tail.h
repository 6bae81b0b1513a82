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
