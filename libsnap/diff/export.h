// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/diff/change_stream.h"
#include "libsnap/io/image.h"

namespace snaptool {

struct ExportOptions {
  // What changed is told in units of so many bytes: a power of two from 512 to the window's size.
  uint64_t granularity = 4096;
  bool reverse = false;  // only said in the header
  // Writes the sums of what was there before, so that a wrong base is noticed.
  bool old_sums = true;
  std::optional<Sha256::Digest> parent_id;
  // What the parent wrote: the base must have it. Requires: at most kMostExpectations.
  std::vector<Expectation> expectations;
  std::string maker;
  std::string from_name;
  std::string to_name;
  // Look only where this view's topmost store has exceptions.
  Image* limit = nullptr;
  // With `limit`: look everywhere, and refuse what differs elsewhere (kWrongBase).
  bool check_limit = false;
  // Tell the images' identities (ContentId) where all of both is read: there is no limit, and they
  // share no storage.
  bool identities = false;
  // Of the whole images, if they were read.
  std::optional<Sha256::Digest> base_sum;
  std::optional<Sha256::Digest> target_sum;
  std::optional<ContentId> base_content;
  std::optional<ContentId> target_content;
};

// Writes what makes `base` into `target`, from job.jobs threads; the stream does not depend on
// their number. Without a base, all that `target` has. Reads only what may differ (CandidateScan).
// Memory: some MiB a thread. Progress counts the target's bytes.
// Errors: kWrongBase when the base does not have what is expected; those of Image and of the
// writer; kInterrupted.
Result<ChangeEnd> export_changes(Image* base, Image& target, ChangeWriter& writer,
                                 const ExportOptions& options, const Job& job);

}  // namespace snaptool
