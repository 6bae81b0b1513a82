// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/store/defect.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

// What verify found.
struct VerifyReport : FindingLog {
  uint64_t exceptions = 0;
  uint64_t areas = 0;  // up to and including the one with the terminator
  uint64_t runs = 0;   // stretches of the list with consecutive old and new chunks
  std::optional<DiskHeader> header;

  // The first reason not to read or merge (a corrupt finding; no store at all), nullptr when there
  // is none. What is only unsafe is none: a crash of a merge leaves it, and merging on is what
  // mends it.
  const Finding* reason_not_to_merge(bool accept_duplicates) const;
};

// The error for a store that is not sound: "'x.cow' <what>: ...". Nothing where there is no reason.
std::optional<Error> refusal_of(const VerifyReport& report, const File& cow, std::string_view what,
                                bool accept_duplicates);

// Checks every invariant of the metadata; reads no data chunk. `origin_size` (bytes) bounds the old
// chunks. A store that cannot be read any further is a report, too. Memory: bounded, whatever the
// store (about 48 MiB); a store too large for that is read in several passes. Errors: kIo,
// kInterrupted only; everything else is a finding.
Result<VerifyReport> verify_store(File& cow, std::optional<uint64_t> origin_size,
                                  const Cancel& cancel);

}  // namespace snaptool
