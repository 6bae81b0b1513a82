// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/output_options.h"
#include "libsnap/diff/apply.h"

namespace snaptool::cli {
namespace {

// The diffs, and the image that may follow them.
struct Operands {
  std::vector<std::unique_ptr<access::ChangeFile>> diffs;
  std::optional<size_t> image;
};

Result<Operands> open_operands(const Invocation& invocation, access::Opener& opener) {
  Operands opened;
  const auto& names = invocation.operands();
  for (size_t i = 0; i < names.size(); ++i) {
    auto changes = open_changes(opener, names[i]);
    if (!changes && i > 0 && i + 1 == names.size()) {
      opened.image = i;
    } else if (!changes) {
      return changes.error();
    } else {
      opened.diffs.push_back(std::move(*changes));
    }
  }
  return opened;
}

Result<int> run(Invocation& invocation) {
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const Operands operands, open_operands(invocation, opener));
  const auto& diffs = operands.diffs;
  const std::string image_name = operands.image ? invocation.operands()[*operands.image] : "";
  access::OpenImage open;
  Image* image = nullptr;
  bool resizable = true;
  if (operands.image) {
    SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation, *operands.image));
    SNAP_ASSIGN(open, access::open_image(opener, spec));
    image = &open.image();
    // As apply would have it.
    resizable = open.layers.size() == 1 && open.files.front()->kind() == FileKind::kRegular;
  }
  SNAP_ASSIGN(Chain chain,
              Chain::open(access::links_of(diffs), image == nullptr ? 0 : image->size(),
                          linking_of(invocation)));
  Apply apply(std::move(chain));
  if (image != nullptr && apply.shape().full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff: it is for no image", diffs.front()->name()));
  }
  ChainCheck checked;
  {
    const access::Phase phase(invocation.access(), "checking");
    SNAP_ASSIGN(checked, apply.check(image, resizable, std::nullopt, phase.job()));
  }
  const bool applied = image != nullptr && checked.is_applied() &&
                       (!resizable || image->size() == apply.shape().final_size()) &&
                       checked.windows > 0;
  const auto& id = checked.ends.back().child_id;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"filename", diffs.front()->name()},
                 {"diffs", diffs.size()},
                 {"format", diffs.front()->driver().name},
                 {"records", checked.totals.records},
                 {"data_bytes", checked.totals.data_bytes},
                 {"zero_bytes", checked.totals.zero_bytes},
                 {"discard_bytes", checked.totals.discard_bytes},
                 {"has_sums", id.has_value()}};
    if (id) json["child_id"] = id_text(*id);
    if (image != nullptr) {
      json["image"] = image_name;
      json["already_applied"] = applied;
    }
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  std::string text = diffs.size() == 1
                         ? fmt::format("'{}' is whole: {} of changes\n", diffs.front()->name(),
                                       format_size(checked.totals.bytes()))
                         : fmt::format(
                               "the {} diffs are whole, and each follows the one before: {} "
                               "of changes\n",
                               diffs.size(), format_size(checked.totals.bytes()));
  if (!id) text += "it has no sums: its bytes may have changed all the same\n";
  if (image != nullptr && applied) {
    text += fmt::format("'{}' has them already\n", image_name);
  } else if (image != nullptr && id) {
    text += fmt::format("'{}' has what it expects\n", image_name);
  }
  SNAP_TRY(invocation.report(text));
  return kExitDone;
}

}  // namespace

CommandSpec diff_verify_command() {
  CommandSpec command;
  command.name = "diff-verify";
  command.operands = "DIFF... [IMAGE]";
  command.min_operands = 1;
  command.max_operands = 4096;
  command.summary = "check that diffs are whole, that they are a chain, and that they fit an image";
  // clang-format off
  command.description =
      "Reads all of each DIFF and checks every sum in it: a bit that was flipped, or a stream that was cut, is found. Several must be a chain, the oldest first, as for 'snaptool apply'. With IMAGE, also that what they change there is what they expect, so that 'snaptool apply' would go through. Nothing is written.";
  command.options = {
    unlinked_option(),
  };
  // clang-format on
  command.shared = {Shared::kFormat,   Shared::kIgnoreInvalid, Shared::kForceShare, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,          Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
