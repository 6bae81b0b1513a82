// SPDX-License-Identifier: Apache-2.0
#include "cli/report/map_rows.h"

#include <fmt/format.h>

#include "cli/support/json.h"
#include "cli/support/stdio.h"

namespace snaptool::cli {
namespace {

// Gathers extents that continue each other into rows, and prints them as they are complete.
class Rows {
 public:
  Rows(bool json, TextOutput& out) : json_(json), out_(out) {}

  Result<void> start() {
    return out_.write(
        json_ ? "["
              : text_line("{:<16} {:<16} {:<16} {}", "Offset", "Length", "Mapped to", "File"));
  }

  Result<void> add(uint64_t start, const Extent& extent) {
    if (row_.length > 0 && extent.zero == row_.zero && extent.depth == row_.depth &&
        extent.file == row_.file && continues(extent)) {
      row_.length += extent.length;
      return {};
    }
    SNAP_TRY(end_row());
    start_ = start;
    row_ = extent;
    return {};
  }

  Result<void> finish() {
    SNAP_TRY(end_row());
    return json_ ? out_.write(any_ ? "\n]\n" : "]\n") : Result<void>();
  }

 private:
  bool continues(const Extent& extent) const {
    if (!row_.file_offset || !extent.file_offset) return row_.file_offset == extent.file_offset;
    return *extent.file_offset == *row_.file_offset + row_.length;
  }

  Result<void> end_row() {
    if (row_.length == 0) return {};
    std::string text;
    if (json_) {
      // There may be many: member by member, a row takes half as long as from a list.
      Json row;
      row["start"] = start_;
      row["length"] = row_.length;
      row["depth"] = row_.depth;
      row["present"] = !row_.zero || row_.depth == 0;
      row["zero"] = row_.zero;
      row["data"] = !row_.zero;
      if (row_.file_offset) row["offset"] = *row_.file_offset;
      if (!row_.file_offset && !row_.zero) row["compressed"] = true;
      row["filename"] = row_.file->name();
      text = (any_ ? ",\n " : "\n ") + row.line();
    } else if (!row_.zero) {
      text = text_line("{:<16} {:<16} {:<16} {}", fmt::format("{:#x}", start_),
                       fmt::format("{:#x}", row_.length),
                       row_.file_offset ? fmt::format("{:#x}", *row_.file_offset) : "compressed",
                       row_.file->name());
    }
    any_ = true;
    row_.length = 0;
    return out_.write(text);
  }

  bool json_;
  TextOutput& out_;
  uint64_t start_ = 0;
  Extent row_;
  bool any_ = false;
};

}  // namespace

Result<void> write_rows(const Invocation& invocation, Image& image, TextOutput& out) {
  Rows rows(invocation.json(), out);
  SNAP_TRY(rows.start());
  for (uint64_t at = 0; at < image.size();) {
    if (invocation.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Extent extent, image.extent_at(at, image.size() - at));
    SNAP_TRY(rows.add(at, extent));
    at += extent.length;
  }
  return rows.finish();
}

}  // namespace snaptool::cli
