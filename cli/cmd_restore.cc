// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/data_source.h"
#include "cli/support/exit_status.h"
#include "cli/support/invocation.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

Result<int> run_restore(Invocation& invocation) {
  const std::string& cow = invocation.operands()[1];
  DataSource::Request request;
  request.input = invocation.operands()[0];
  SNAP_ASSIGN(DataSource dump, DataSource::open(request));
  SNAP_ASSIGN(const uint64_t exceptions, ops::restore(invocation.access(), dump, cow));
  const std::string path = ops::path_of_new(cow);
  if (invocation.json()) {
    const Json json = {{"format_version", 1}, {"cow", path}, {"exceptions", exceptions}};
    SNAP_TRY(invocation.report(json.text()));
  } else {
    SNAP_TRY(invocation.report(text_line("'{}' has {}", path, counted(exceptions, "exception"))));
  }
  return kExitDone;
}

}  // namespace

CommandSpec restore_command() {
  CommandSpec command;
  command.name = "restore";
  command.operands = "FILE COW";
  command.min_operands = command.max_operands = 2;
  command.summary = "make the metadata of a store from a dump";
  // clang-format off
  command.description =
      "Writes the header and the list of exceptions in FILE ('-': standard input), as 'dump' printed them, into COW: a new file, or an existing one that is empty or all zeros. A dump has no data chunks: a new COW shows zeros there.\n\n"
      "With --force, the metadata of a COW that has content are replaced; its data chunks stay.";
  command.options = {
    flag("force", "replace the metadata of a COW that has content"),
  };
  // clang-format on
  command.shared = {Shared::kProgress, Shared::kJson};
  command.writes = Writes::kLast;
  command.done = "restored";
  command.run = run_restore;
  return command;
}

}  // namespace snaptool::cli
