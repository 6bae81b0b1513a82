// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/progress.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool {

// Reads every data chunk that the list names and the COW has, from job.jobs threads, and adds a
// finding for each that cannot be read. Holes are not read. Requires: `report` is verify_store's of
// the same COW. Memory: some MiB. Progress counts the bytes of data.
// Errors: kInterrupted; kIo for the metadata.
Result<void> verify_data(File& cow, VerifyReport& report, const Job& job);

}  // namespace snaptool
