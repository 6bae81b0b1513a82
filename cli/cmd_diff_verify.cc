// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/output_options.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/check_diffs.h"

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

Result<int> run_diff_verify(Invocation& invocation) {
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const Operands operands, open_operands(invocation, opener));
  const auto& diffs = operands.diffs;
  const std::string image_name = operands.image ? invocation.operands()[*operands.image] : "";
  access::OpenImage image;
  if (operands.image) {
    SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation, *operands.image));
    SNAP_ASSIGN(image, access::open_image(opener, spec));
  }
  SNAP_ASSIGN(const ops::CheckedDiffs result,
              ops::check_diffs(invocation.access(), diffs, operands.image ? &image : nullptr,
                               linking_of(invocation)));
  const ChainCheck& checked = result.chain;
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
    if (operands.image) {
      json["image"] = image_name;
      json["already_applied"] = result.applied;
    }
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  std::string text = diffs.size() == 1
                         ? text_line("'{}' is intact: {} of changes", diffs.front()->name(),
                                     format_size(checked.totals.bytes()))
                         : text_line(
                               "the {} diffs are intact, and each follows the one before: {} "
                               "of changes",
                               diffs.size(), format_size(checked.totals.bytes()));
  if (!id) text += "it has no checksums: changed bytes would not be noticed\n";
  if (result.applied) {
    text += text_line("'{}' has them already", image_name);
  } else if (operands.image && id) {
    text += text_line("'{}' has what it expects", image_name);
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
  command.summary = "check that diffs are intact, form a chain, and fit an image";
  // clang-format off
  command.description =
      "Reads all of each DIFF and checks every checksum in it: flipped bits and truncated streams are found. Several diffs must form a chain, oldest first, as for 'snaptool apply'. With IMAGE, it also checks that IMAGE holds what they expect, so that 'snaptool apply' would succeed. Nothing is written.";
  command.options = {
    unlinked_option(),
  };
  // clang-format on
  command.shared = {Shared::kFormat,   Shared::kIgnoreInvalid, Shared::kForceShare, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,          Shared::kGroupBackup};
  command.run = run_diff_verify;
  return command;
}

}  // namespace snaptool::cli
