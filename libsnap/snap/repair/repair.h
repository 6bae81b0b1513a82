// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/repair/salvage.h"
#include "libsnap/snap/store/defect.h"

namespace snaptool {

struct RepairOptions {
  // Data chunks side by side, in the order of the list, instead of where they were.
  bool compact = false;
  // The target reads as zeros; else what must be zeros is written, and in an order that leaves no
  // store behind until all is there.
  bool target_zeroed = true;
};

// What a repair kept, and what it did not.
struct RepairReport {
  FindingLog dropped;
  uint64_t kept = 0;       // exceptions
  uint64_t separated = 0;  // of them, got a data chunk of their own, as they shared one
  uint64_t size = 0;       // the least that the new store needs, bytes
};

// What repair_store would do. Reads no data chunk. Errors: those of Salvage::visit.
Result<RepairReport> plan_repair(Salvage& salvage, const RepairOptions& options,
                                 const Cancel& cancel);

// Writes a sound store with every exception that can be kept: the view is what the kernel shows of
// the old one, but for the chunks that were dropped. An exception whose data cannot be read is
// dropped, too. Progress counts the bytes of data.
// Requires: `target` has `plan.size` bytes at least; `plan` is of the same salvage and options.
// Crash: a target that was not zeroed is no store, or the whole store. Not flushed.
// Errors: those of Salvage::visit; kIo, kNoSpace of `target`.
Result<RepairReport> repair_store(Salvage& salvage, const RepairOptions& options,
                                  const RepairReport& plan, File& target, const Job& job);

}  // namespace snaptool
