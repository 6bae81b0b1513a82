// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/ewf/header_text.h"
#include "formats/ewf/layout.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"

namespace snaptool::ewf {

// A table of chunks, and its copy where it has one. Positions are bytes of the segment's file.
struct Table {
  uint32_t segment = 0;  // its index in Contents::files
  uint32_t entries = 0;
  uint64_t first_chunk = 0;  // of the image
  uint64_t base = 0;         // from which the entries count
  uint64_t position = 0;     // of the entries
  uint64_t copy = 0;         // of those of table2; 0: there is none
  uint64_t data_start = 0;   // the chunks lie from there
  uint64_t data_end = 0;     // to there
  bool has_sum = true;       // after the entries
};

// A list of sectors that could not be read when the image was acquired.
struct ErrorList {
  uint32_t segment = 0;
  uint32_t entries = 0;
  uint64_t position = 0;  // of the entries
};

// What the sections of an image say; of chunks, only where the tables are.
struct Contents {
  std::vector<std::shared_ptr<File>> files;  // the segments, in their order
  unsigned first_number = 1;                 // what the first of them calls itself
  std::optional<Volume> volume;
  HeaderValues header;
  std::string md5;  // stored ones, in hex; empty: none
  std::string sha1;
  std::vector<ErrorList> errors;
  std::vector<Table> tables;
  uint64_t chunks = 0;    // that the tables have
  bool finished = false;  // it ends as an image does
  bool is_cut = false;    // something was broken or missing, and what comes after it is not known
  // No segment can be of another image: each has the identifier of the first, which no other has.
  bool belongs_together = true;
  std::string missing_chunks;  // that the tables have fewer than the medium; empty: they do not
  // What is damaged, and was got round.
  std::vector<std::string> problems;
  size_t first_problems = 0;  // so many are of the first segment

  // The list of a table or of errors is in this file.
  File& file_of(uint32_t segment) const { return *files[segment]; }
};

// Reads the sections of one file, whatever segment it is. Errors: kCorruption; kUnsupported; kIo;
// kInterrupted.
Result<Contents> read_segment(std::shared_ptr<File> file, const Cancel& cancel);

// Reads those of all segments, the first of which is `file`; `open` opens another one by its name,
// which is relative to the folder of the first. Requires: as read_segment's. Errors: also
// kInvalidArgument for a file that is not the first segment; those of `open`.
using OpenPart = std::function<Result<std::shared_ptr<File>>(const std::string& name)>;
// `what_is_left`: what is broken or missing ends the image there, and is one of its problems, once
// the volume is known.
Result<Contents> read_contents(std::shared_ptr<File> file, const OpenPart& open, bool what_is_left,
                               const Cancel& cancel);

// The error as one of that file.
Error in_file(Error error, const File& file);

}  // namespace snaptool::ewf
