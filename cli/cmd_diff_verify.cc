// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/open_image.h"
#include "libsnap/diff/apply.h"

namespace snaptool::cli {
namespace {

Result<int> run(Invocation& invocation) {
  const std::string& path = invocation.operands().front();
  SNAP_ASSIGN(const auto changes, ChangeFile::open(path));
  OpenImage open;
  Image* image = nullptr;
  bool resizable = true;
  if (invocation.operands().size() > 1) {
    SNAP_ASSIGN(const ImageSpec spec, image_operand(invocation, 1));
    SNAP_ASSIGN(open, open_image(invocation, spec));
    image = &open.image();
    // As apply would have it.
    const auto* const posix = dynamic_cast<const PosixFile*>(open.files.front().get());
    resizable = open.layers.size() == 1 && posix != nullptr && !posix->is_block_device();
  }
  SNAP_ASSIGN(Chain chain, Chain::open({{changes->name(), [&] { return changes->reader(); }}},
                                       image == nullptr ? 0 : image->size()));
  Apply apply(std::move(chain));
  if (image != nullptr && apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff: it is for no image", path));
  }
  Progress progress;
  ChainCheck checked;
  {
    const ProgressReporter shown("checking", invocation.progress_style(), progress);
    SNAP_ASSIGN(checked, apply.check(image, resizable, std::nullopt, invocation.job(progress)));
  }
  const bool applied = image != nullptr && checked.is_applied() &&
                       (!resizable || image->size() == apply.shape().final_size()) &&
                       checked.windows > 0;
  const auto& id = checked.ends.front().child_id;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"filename", path},
                 {"format", format_name(changes->format())},
                 {"records", checked.totals.records},
                 {"data_bytes", checked.totals.data_bytes},
                 {"zero_bytes", checked.totals.zero_bytes},
                 {"discard_bytes", checked.totals.discard_bytes},
                 {"has_sums", id.has_value()}};
    if (id) json["child_id"] = id_text(*id);
    if (image != nullptr) {
      json["image"] = invocation.operands()[1];
      json["already_applied"] = applied;
    }
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  std::string text = fmt::format("'{}' is whole: {} of changes\n", changes->name(),
                                 format_size(checked.totals.bytes()));
  if (!id) text += "it has no sums: its bytes may have changed all the same\n";
  if (image != nullptr && applied) {
    text += fmt::format("'{}' has them already\n", invocation.operands()[1]);
  } else if (image != nullptr && id) {
    text += fmt::format("'{}' has what it expects\n", invocation.operands()[1]);
  }
  SNAP_TRY(invocation.report(text));
  return kExitDone;
}

}  // namespace

CommandSpec diff_verify_command() {
  CommandSpec command;
  command.name = "diff-verify";
  command.operands = "DIFF [IMAGE]";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "check that a diff is whole, and that it fits an image";
  command.description =
      "Reads all of DIFF and checks every sum in it: a bit that was flipped, or a stream that was "
      "cut, is found. With IMAGE, also that what DIFF changes there is what it expects, so that "
      "'snaptool apply' would go through. Nothing is written.";
  command.shared = "fIUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
