// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/support/text_output.h"
#include "libsnap/diff/compare.h"
#include "libsnap/ops/diff_volumes.h"

namespace snaptool::cli {

// One of the two images of a comparison.
struct ReportImage {
  std::string name;   // as it was named
  uint64_t size = 0;  // bytes
  // Of all of it, by the names of their algorithms; empty: not computed.
  std::vector<std::pair<std::string_view, std::string>> sums;
  // What it was named by: an origin, and the stores over it.
  struct NamedFile {
    std::string path;  // absolute
    uint64_t size = 0;
    std::string modified;  // ISO 8601, UTC
  };
  std::vector<NamedFile> files;
};

// Who made a report, and with what. Empty: not known.
struct ReportOrigin {
  std::string case_number;
  std::string examiner;
  std::vector<std::string> notes;
  std::string host;
  std::string program_sum;  // SHA-256 of the program's file
};

// A partition or volume of the first image.
struct ReportRegion {
  std::string name;
  int depth = 0;  // as Region has it
  // Where a piece of it lies.
  struct Piece {
    ByteRange range;      // in the image
    uint64_t offset = 0;  // in the region, bytes
  };
  std::vector<Piece> pieces;
  std::string file_system;  // its type, label and UUID; empty: none is known
};

// What is known before the comparison.
struct ReportHead {
  ReportImage before;
  ReportImage after;
  ReportOrigin origin;
  std::string command_line;
  std::string created;  // ISO 8601, UTC
  uint64_t granularity = 0;
  bool strict = false;
  std::vector<ReportRegion> regions;  // each before those that lie in it
  std::string file_system;            // of all of the first image, as ReportRegion has it
};

// A range, and what it was and is; the sums and the entropy only where they were asked for.
struct ReportRange {
  Difference difference;
  struct Side {
    bool there = false;  // it was looked at
    std::string sha256;
    double entropy = 0;  // bits a byte
    bool zeros = false;  // there is nothing but zeros
    std::string hex;     // of its first bytes; empty: not asked for
    std::optional<uint64_t>
        file_offset;  // where in the file it lies, if all of it lies in one piece
    std::string filename;
  };
  Side before;
  Side after;
  uint64_t hex_offset = 0;  // where `hex` begins
};

// What is known after it.
struct ReportTail {
  CompareSummary summary;
  bool equal = false;
  // Of the views' COWs: chunks that were compared, in bytes; nothing where there is none.
  std::optional<uint64_t> chunk_size;
  std::optional<ops::VolumeDiffSummary> files;  // if files were compared
};

// Writes what a comparison finds, in the order in which it is found. Memory is bounded.
class ReportWriter {
 public:
  virtual ~ReportWriter() = default;
  virtual Result<void> begin(const ReportHead& head) = 0;
  virtual Result<void> add(const ReportRange& range) = 0;
  // Where files are compared, after all ranges: as VolumeDiffVisitor has them.
  virtual Result<void> begin_volume(const ops::VolumePair& volume) = 0;
  virtual Result<void> add_change(const ops::FileChange& change) = 0;
  virtual Result<void> add_piece(const ops::FilePiece& piece) = 0;
  virtual Result<void> end_volume(const ops::FileDiffSummary& summary) = 0;
  virtual Result<void> add_outside(const ByteRange& range) = 0;
  virtual Result<void> finish(const ReportTail& tail) = 0;
};

// What a person is shown.
struct TextReportOptions {
  bool ranges = true;
  bool hashes = false;  // with what was found out of each range
};
std::unique_ptr<ReportWriter> make_text_report(TextOutput& out, const TextReportOptions& options);
std::unique_ptr<ReportWriter> make_json_report(TextOutput& out);
// Digital Forensics XML: byte runs with their hashes.
std::unique_ptr<ReportWriter> make_dfxml_report(TextOutput& out);
// One self-contained page: pictures in SVG, no script, nothing from elsewhere.
std::unique_ptr<ReportWriter> make_html_report(TextOutput& out);

// The rows of a hex dump of what is in hex already; `mark`: '-' for before, '+' for after.
// `offset`: of the first byte.
std::string hex_rows(char mark, uint64_t offset, const std::string& hex);
std::string escape_markup(std::string_view text);
// The time that a report shows: `date` ("2026-11-26T09:30:00Z", or seconds since 1970 as
// "@1795685400"), else SOURCE_DATE_EPOCH, else now. Errors: kInvalidArgument.
Result<std::string> report_time(const std::optional<std::string>& date);

}  // namespace snaptool::cli
