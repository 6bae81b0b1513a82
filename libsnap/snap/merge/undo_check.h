// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "libsnap/snap/merge/undo_journal.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

// Checks that both files are what the journaled merge, the undoing, or a crash of either left of
// them: a store of the same shape whose list ends in the journaled part, each journaled entry there
// or cleared, each sector of the origin that a batch overwrites old or new. Reads all journaled
// bytes. Requires: store.read_metadata succeeded.
// Errors: kWrongBase, with the place, when something was changed since; kCorruption when the
// journal is damaged; kIo; kInterrupted.
// `differs`, if given: whether anything is not as it was before the merge.
Result<void> check_against_journal(File& origin, PersistentStore& store, UndoJournal& journal,
                                   const Job& job, std::atomic<bool>* differs = nullptr);

}  // namespace snaptool
