// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/open_image.h"

namespace snaptool::cli {
namespace {

// Gathers extents that continue each other into rows, and prints them as they are complete.
class Rows {
 public:
  explicit Rows(const Invocation& invocation) : invocation_(invocation), json_(invocation.json()) {
    text_ = json_
                ? "["
                : fmt::format("{:<16} {:<16} {:<16} {}\n", "Offset", "Length", "Mapped to", "File");
  }

  Result<void> add(uint64_t start, const ImageExtent& extent) {
    if (row_.length > 0 && extent.zero == row_.zero && extent.depth == row_.depth &&
        extent.file == row_.file && extent.file_offset == row_.file_offset + row_.length) {
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
    if (json_) text_ += any_ ? "\n]\n" : "]\n";
    return invocation_.report(text_);
  }

 private:
  Result<void> end_row() {
    if (row_.length == 0) return {};
    if (json_) {
      const nlohmann::ordered_json row = {{"start", start_},
                                          {"length", row_.length},
                                          {"depth", row_.depth},
                                          {"present", !row_.zero || row_.depth == 0},
                                          {"zero", row_.zero},
                                          {"data", !row_.zero},
                                          {"offset", row_.file_offset},
                                          {"filename", row_.file->name()}};
      text_ += (any_ ? ",\n " : "\n ") +
               row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    } else if (!row_.zero) {
      text_ += fmt::format("{:<16} {:<16} {:<16} {}\n", fmt::format("{:#x}", start_),
                           fmt::format("{:#x}", row_.length),
                           fmt::format("{:#x}", row_.file_offset), row_.file->name());
    }
    any_ = true;
    row_.length = 0;
    if (text_.size() < 64 * kKiB) return {};
    SNAP_TRY(invocation_.report(text_));
    text_.clear();
    return {};
  }

  const Invocation& invocation_;
  bool json_;
  std::string text_;
  uint64_t start_ = 0;
  ImageExtent row_;
  bool any_ = false;
};

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const ImageSpec spec, image_operand(invocation));
  SNAP_ASSIGN(OpenImage open, open_image(invocation, spec));
  Image& image = open.image();
  Rows rows(invocation);
  for (uint64_t at = 0; at < image.size();) {
    if (invocation.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const ImageExtent extent, image.extent_at(at, image.size() - at));
    SNAP_TRY(rows.add(at, extent));
    at += extent.length;
  }
  SNAP_TRY(rows.finish());
  return kExitDone;
}

}  // namespace

CommandSpec map_command() {
  CommandSpec command;
  command.name = "map";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "tell which file supplies each range of an image";
  command.description =
      "Lists the ranges of IMAGE and where their content lies. Depth 0 is the topmost layer (the "
      "COW of "
      "ORIGIN@COW), 1 the one below it. With --output=json, an array as 'qemu-img map' prints it, "
      "with the "
      "file's name in each row; the human table leaves out holes.";
  command.options = {{0,
                      "ignore-invalid",
                      OptionKind::kFlag,
                      "",
                      "show what an invalid store still holds",
                      ValueHint::kNone,
                      {}}};
  command.shared = "fUOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
