// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cli/report/comparison.h"
#include "cli/support/invocation.h"
#include "cli/support/json.h"

namespace snaptool::cli {

// Compares the files of two images and tells all writers. Errors: those of ops::diff_volumes and
// of the writers.
Result<ops::VolumeDiffSummary> compare_files(
    const Invocation& invocation, Image& before, Image& after, const ops::ChangedRanges& changed,
    const std::vector<std::unique_ptr<ReportWriter>>& writers);

// What ends a comparison that is not complete.
Error files_not_read(const ops::VolumeDiffSummary& files);

// How changes of files and what was changed outside of them are shown.

std::string_view use_name(ops::Use use);  // "content"

// A line: "modified  a/b (content, size 4 -> 5)".
std::string change_text(const ops::FileChange& change);
Json change_json(const ops::FileChange& change, bool local_times);
// `volume`: whose piece it is.
Json piece_json(const ops::FilePiece& piece, const ops::VolumePair& volume);
Json volume_json(const ops::VolumePair& volume);

// Bytes that differ outside of files, by their use.
class UseTotals {
 public:
  void add(const ops::ChangedPiece& piece);
  // In the order of the uses, those that there are.
  void visit(const std::function<void(std::string_view name, uint64_t bytes)>& visit) const;

 private:
  std::array<uint64_t, 10> bytes_{};
};

}  // namespace snaptool::cli
