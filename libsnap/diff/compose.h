// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "libsnap/base/progress.h"
#include "libsnap/diff/chain.h"
#include "libsnap/io/image.h"

namespace snaptool {

// A chain may cut an image to nothing and make it as large as any disk again. In a diff that has a
// record for each window, so much may become zeros in that way, unless more is asked for.
inline constexpr uint64_t kMostZeroed = 1024 * kGiB;

// Writes one diff that does what all of the chain do, from job.jobs threads; no image is needed.
// The new diff has the last one's id. A window that one diff alone changes keeps its sums; where
// several do, what the base has there is only known if the first covers the others: else the record
// has no sum of the old bytes. Memory: some MiB a thread. Progress counts windows' bytes. Requires:
// `chain` was not read yet. Errors: those of the readers and of the writer; kWrongBase when ids say
// that one does not follow from the one before; kUnsupported for more than `most_zeroed`, and for a
// window that has more changes than the writer takes; kInterrupted.
Result<ChangeEnd> compose_changes(Chain& chain, ChangeWriter& writer, const std::string& maker,
                                  const Job& job, uint64_t most_zeroed = kMostZeroed);

// Writes the diff that takes back what `chain`, one diff, does to `base`. `child_id` is the diff's,
// which becomes the parent; the new diff leads to the diff's parent, and has its id if there is
// one. Errors: kInvalidArgument for a full diff; kWrongBase when `base` is not what the diff
// expects; those of Image, the reader and the writer; kInterrupted.
Result<ChangeEnd> invert_changes(Chain& chain, Image& base,
                                 const std::optional<Sha256::Digest>& child_id,
                                 ChangeWriter& writer, const std::string& maker, const Job& job);

}  // namespace snaptool
