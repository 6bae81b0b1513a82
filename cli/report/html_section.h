// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/report/comparison.h"
#include "cli/report/file_changes.h"
#include "cli/report/html_picture.h"

namespace snaptool::cli {

// A section of the page: a partition or volume, or what lies outside of all of them, with its
// ranges and files. What is long is cut, and it is said so.
class HtmlSection {
 public:
  // What lies in no region.
  explicit HtmlSection(const ReportHead& head);
  // `has_volumes`: the next region lies in it.
  HtmlSection(const ReportRegion& region, bool has_volumes);
  // Of the second image only.
  explicit HtmlSection(const ops::VolumePair& volume);

  const std::string& name() const { return name_; }
  // `offset`: of the range, in the region; nothing: in none. `shown`: it has a row.
  void add(const ReportRange& range, RangeKind kind, std::optional<uint64_t> offset, bool shown);

  // Of what lies in no region: it tells of the whole image, too.
  void become_whole(const ReportHead& head);
  void begin_files(const ops::VolumePair& volume);
  void add_change(const ops::FileChange& change);
  void add_piece(const ops::FilePiece& piece);
  void end_files(const ops::FileDiffSummary& summary) { problems_ = summary.problems; }

  bool has_content() const { return ranges_ > 0 || volume_; }
  Result<void> write(TextOutput& out) const;

 private:
  Result<void> write_ranges(TextOutput& out) const;
  Result<void> write_files(TextOutput& out) const;
  std::string uses() const;

  std::string name_;   // as VolumePair has it
  std::string title_;  // markup, as are the next
  std::string facts_;
  bool is_part_ = true;  // offsets within it are told
  std::vector<std::string> rows_;
  uint64_t shown_ = 0;
  uint64_t ranges_ = 0;
  uint64_t range_bytes_ = 0;
  uint64_t changed_bytes_ = 0;
  // With --files.
  std::optional<ops::VolumePair> volume_;
  std::vector<std::string> changes_;  // rows
  uint64_t change_count_ = 0;
  std::vector<std::string> pieces_;  // rows
  uint64_t piece_count_ = 0;
  UseTotals totals_;
  std::vector<std::string> problems_;
};

inline constexpr size_t kMostRows = 10000;  // of all ranges; of the files of a volume

}  // namespace snaptool::cli
