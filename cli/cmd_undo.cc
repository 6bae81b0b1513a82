// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/pairs.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/undo.h"

namespace snaptool::cli {
namespace {

Result<void> report_undo(const Invocation& invocation, const access::ImageSpec& spec,
                         const Undo& undo, bool dry_run) {
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"origin", spec.base.name()},
                       {"cow", spec.stores.front().name()},
                       {"dry_run", dry_run},
                       {"nothing_to_do", undo.nothing_to_do()},
                       {"exceptions", undo.exceptions()},
                       {"bytes", undo.bytes()}};
    return invocation.report(json.text());
  }
  if (undo.nothing_to_do()) {
    return invocation.report(
        text_line("there is nothing to restore: '{}' and '{}' are as they were before the merge",
                  spec.base.name(), spec.stores.front().name()));
  }
  return invocation.report(
      text_line("{} {} of '{}', and {} of '{}'", dry_run ? "would restore" : "restored",
                counted(undo.exceptions(), "exception"), spec.stores.front().name(),
                format_size(undo.bytes()), spec.base.name()));
}

Result<int> run_undo(Invocation& invocation) {
  ops::UndoRequest request;
  request.undo_file = invocation.operands().front();
  auto image = origin_and_cow_operands(invocation, 1);
  if (invocation.operands().size() == 3 &&
      is_own_file(invocation.operands().back(), Remedy::kUndoMerge) &&
      !is_own_file(request.undo_file, Remedy::kUndoMerge)) {
    return Error(ErrorCode::kInvalidArgument, "the undo file comes first: undo FILE ORIGIN COW");
  }
  if (!image && invocation.operands().size() == 2 &&
      image.error().code() == ErrorCode::kInvalidArgument) {
    return std::move(image).error().with_note("the undo file comes first: undo FILE ORIGIN COW");
  }
  SNAP_ASSIGN(request.image, std::move(image));
  SNAP_ASSIGN(request.siblings, cow_operands(invocation, "sibling"));
  request.dry_run = invocation.has("dry-run");
  const access::ImageSpec& spec = request.image;
  SNAP_ASSIGN(const auto job, ops::UndoJob::prepare(invocation.access(), request));
  if (!request.dry_run) {
    if (auto done = job->run(); !done) {
      return std::move(done).error().with_note(fmt::format(
          "nothing is lost, and 'snaptool undo{}{}{} {} {} {}' resumes",
          invocation.has("force") ? " --force" : "", invocation.has("format") ? " -f raw" : "",
          given_again(invocation, "sibling"), shell_quoted(request.undo_file),
          operand_for(spec.base), operand_for(spec.stores.front())));
    }
  }
  SNAP_TRY(report_undo(invocation, spec, job->undo(), request.dry_run));
  return kExitDone;
}

}  // namespace

CommandSpec undo_command() {
  CommandSpec command;
  command.name = "undo";
  command.operands = "FILE ORIGIN COW";
  command.min_operands = 2;
  command.max_operands = 3;
  command.summary = "restore an origin and its COW to what they were before a merge";
  // clang-format off
  command.description =
      "Takes back a merge that kept the undo file FILE (snaptool merge --undo FILE), finished or not: the origin gets back the bytes that were overwritten, and COW the exceptions that were cleared. If either has changed since, it is refused and nothing is written: each sector to be written back, and each exception, must be what the merge left. Changes elsewhere in the origin are noticed only in its first and last MiB.\n\n"
      "Stopped at any instant, ORIGIN and COW together show the same view, and the same command resumes.";
  command.options = {
    flag("dry-run", "check everything, say what would be done, write nothing"),
    repeated(written(file("sibling", "COW2", "another snapshot of ORIGIN, to keep its view; can be repeated"))),
    flag("force", "write to a volume whose other snapshots this breaks"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kJobs, Shared::kProgress, Shared::kJson,
                    Shared::kGroupBackup};
  command.writes = Writes::kAll;
  command.done = "undone";
  command.run = run_undo;
  return command;
}

}  // namespace snaptool::cli
