// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/access/context.h"
#include "libsnap/ops/diff_files.h"

namespace snaptool::ops {

// Which files differ between two images: of a file system, or of a disk with partitions.

// A volume of one of the images.
struct VolumeFacts {
  uint64_t offset = 0;  // in the image, bytes
  uint64_t size = 0;    // bytes
  std::string type;     // of its file system: "ext4"; empty: none that is read
  std::string label;
  std::string uuid;
  uint64_t block_size = 0;
  bool local_times = false;
  std::string problem;  // why its files are not compared; empty: they are
};

struct VolumePair {
  std::string name;  // "#p2"; empty: all of the image
  std::optional<VolumeFacts> before;
  std::optional<VolumeFacts> after;
  bool has_ranges = true;      // it lies in the same place in both
  uint64_t changed_bytes = 0;  // of ranges that differ
  bool compared() const {
    return before && after && before->problem.empty() && after->problem.empty();
  }
};

// Of a volume: begin, its changes, its pieces, end. Then, after all volumes, what lies outside.
struct VolumeDiffVisitor {
  std::function<Result<void>(const VolumePair&)> begin;
  FileDiffVisitor files;  // offsets of pieces are within the volume
  std::function<Result<void>(const VolumePair&, const FileDiffSummary&)> end;
  std::function<Result<void>(const ByteRange&)> outside;  // of all volumes, in order
};

struct VolumeDiffSummary {
  // No file differs, and no byte that lies where no file system was compared.
  bool equal = true;
  uint64_t files = 0;          // changes
  uint64_t outside_bytes = 0;  // changed ones that lie outside of what was compared
  uint64_t problems = 0;       // what could not be read
  std::string first_problem;
};

struct VolumeDiffOptions {
  bool full = false;  // as FileDiffOptions has them
  bool runs = false;
};

// `changed`: where the images differ. Errors: those of diff_files and of opening volumes, without
// what only says that a volume is not read.
Result<VolumeDiffSummary> diff_volumes(const access::Context& context, Image& before, Image& after,
                                       const ChangedRanges& changed,
                                       const VolumeDiffOptions& options,
                                       const VolumeDiffVisitor& visitor, const Job& job);

}  // namespace snaptool::ops
