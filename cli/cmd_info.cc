// SPDX-License-Identifier: Apache-2.0
#include "cli/report/describe.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"

namespace snaptool::cli {
namespace {

Result<int> tell_one(Invocation& invocation) {
  const std::string& operand = invocation.operands().front();
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  Json json = {{"format_version", 1}, {"filename", operand}};
  const auto tell = spec.stores.empty() && spec.view_parts.empty() ? describe_file : describe_view;
  SNAP_ASSIGN(const std::string about, tell(invocation, spec, json));
  std::string text = text_line("{:<16}{}", "image:", operand) + about;
  if (invocation.run() > 0) text.insert(0, "\n");
  SNAP_TRY(invocation.report(invocation.json() ? json.text() : text));
  return kExitDone;
}

Result<int> run_info(Invocation& invocation) {
  return invocation.run_each([&] { return tell_one(invocation); });
}

}  // namespace

CommandSpec info_command() {
  CommandSpec command;
  command.name = "info";
  command.operands = "IMAGE";
  command.each = "IMAGE IMAGE...";
  command.min_operands = command.max_operands = 1;
  // clang-format off
  command.summary = "say what a file is, and which partitions, volumes and snapshots are in it";
  command.description =
      "Says what IMAGE is: its format and size; for a disk, its partitions, volumes and snapshots; for a dm-snapshot store, chunk size, number of exceptions, how full it is, and whether it is valid; for a diff, what it applies to. Only metadata are read.";
  command.options = {
    flag("ignore-invalid", "also look into a store that is marked invalid"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kFollowParents, Shared::kParent,
                    Shared::kForceShare, Shared::kJson,          Shared::kGroupBackup};
  command.pairs = Pairs::kFirst;
  command.run = run_info;
  return command;
}

}  // namespace snaptool::cli
