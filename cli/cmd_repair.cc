// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include "cli/report/repair.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

Result<ops::RepairJob::Request> request_of(const Invocation& invocation) {
  ops::RepairJob::Request request;
  if (invocation.operands().size() == 2) {
    SNAP_ASSIGN(request.image, origin_and_cow_operands(invocation));
  } else {
    SNAP_ASSIGN(request.image, target_operand(invocation));
  }
  if (const auto text = invocation.value("chunk-size")) {
    SNAP_ASSIGN(const uint64_t bytes, ops::parse_chunk_size(*text));
    request.salvage.chunk_sectors = bytes / kSectorSize;
  }
  request.salvage.beyond_end = invocation.has("beyond-end");
  request.repair.compact = invocation.has("compact");
  return request;
}

Result<int> run_repair(Invocation& invocation) {
  const auto out = invocation.value("out");
  const bool dry_run = invocation.has("dry-run");
  if (dry_run && out) {
    return Error(ErrorCode::kInvalidArgument,
                 "--dry-run writes nothing: it does not go with --out");
  }
  if (!dry_run && !out) {
    const std::string& last = invocation.operands().back();
    const bool is_new = invocation.operands().size() == 2 && ::access(last.c_str(), F_OK) != 0;
    return Error(ErrorCode::kInvalidArgument,
                 "-o NEW must say where the sound store goes (or --dry-run, to look)" +
                     (is_new ? fmt::format("; did you mean -o {}?", shell_quoted(last)) : ""));
  }
  SNAP_ASSIGN(const ops::RepairJob::Request request, request_of(invocation));
  SNAP_ASSIGN(const auto job, ops::RepairJob::prepare(invocation.access(), request));
  warn_of_repair(invocation, job->salvage());
  if (!dry_run) SNAP_TRY(job->run(*out));
  SNAP_TRY(report_repair(invocation, *job, out));
  return kExitDone;
}

}  // namespace

CommandSpec repair_command() {
  CommandSpec command;
  command.name = "repair";
  command.operands = "[ORIGIN] COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make a sound store out of what a damaged one still has";
  // clang-format off
  command.description =
      "Writes a new, sound store with every exception of COW that can be kept, and lists what cannot. COW itself is only read. The new store shows what the kernel would show of the old one, except for chunks that were dropped: there it shows the origin. With ORIGIN, exceptions past its end are dropped, too.\n\n"
      "The header may be wiped or overwritten: the chunk size is worked out from the areas. After an overwritten area, the list continues where the kernel would have put the next one.";
  command.options = {
    flag("dry-run", "only say what would be kept"),
    flag("ignore-invalid", "keep what an invalidated store has; the new one is valid"),
    flag("beyond-end", "also keep what looks like entries past the end of the list"),
    value("chunk-size", "SIZE", "chunk size of COW, whatever its header says"),
    flag("compact", "put the data chunks side by side"),
    flag("force", "replace NEW if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,      Shared::kForceShare, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,       Shared::kGroupBackup};
  command.writes = Writes::kLast;
  command.done = "repaired";
  command.extra_option = "-o";
  command.run = run_repair;
  return command;
}

}  // namespace snaptool::cli
