// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "libsnap/snap/undo.h"

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
    return invocation.report(fmt::format(
        "there is nothing to give back: '{}' and '{}' are as they were before the merge\n",
        spec.base.name(), spec.stores.front().name()));
  }
  return invocation.report(fmt::format(
      "{} {} exceptions to '{}', and {} to '{}'\n", dry_run ? "would give back" : "gave back",
      undo.exceptions(), spec.stores.front().name(), format_size(undo.bytes()), spec.base.name()));
}

Result<int> run(Invocation& invocation) {
  const std::string& path = invocation.operands().front();
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation, 1));
  if (spec.stores.size() != 1) {
    return Error(ErrorCode::kUnsupported,
                 "undoing a merge in a stack: name one origin and one COW");
  }
  const bool dry_run = invocation.has("dry-run");
  const Access access = dry_run ? Access::kRead : Access::kReadWrite;
  SNAP_ASSIGN(const access::OpenPair pair, access::open_pair(invocation.access(), spec, access));
  SNAP_ASSIGN(const auto journal, access::find_undo_file(path, pair, access));
  if (journal == nullptr) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no undo file '{}'", path));
  }

  Progress progress;
  const Job job = invocation.job(progress);
  Result<std::unique_ptr<Undo>> undo = [&] {
    const ProgressReporter reporter("checking", invocation.progress_style(), progress);
    return Undo::begin(*pair.origin, *pair.cow, *journal, job);
  }();
  if (!undo) {
    Error error = std::move(undo).error();
    if (error.code() == ErrorCode::kInterrupted) return error;
    return std::move(error).with_note("nothing was written");
  }
  if (!dry_run) {
    Result<void> done;
    {
      const ProgressReporter reporter("undoing", invocation.progress_style(), progress);
      done = (*undo)->run(job);
    }
    if (!done) {
      return std::move(done).error().with_note(
          fmt::format("nothing is lost, and 'snaptool undo{} {} {} {}' resumes",
                      invocation.has("format") ? " -f raw" : "", shell_quoted(path),
                      operand_for(spec.base), operand_for(spec.stores.front())));
    }
  }
  SNAP_TRY(report_undo(invocation, spec, **undo, dry_run));
  return kExitDone;
}

}  // namespace

CommandSpec undo_command() {
  CommandSpec command;
  command.name = "undo";
  command.operands = "FILE ORIGIN COW";
  command.min_operands = 2;
  command.max_operands = 3;
  command.summary = "bring an origin and its COW back to what they were before a merge";
  command.description =
      "Takes back a merge that kept the undo file FILE (snaptool merge --undo FILE), finished or "
      "not: the origin gets the bytes that were overwritten, COW the exceptions that were cleared. "
      "Refused, with nothing written, if either was changed since: each sector that is to be "
      "written back, and each exception, must be what the merge left. Use of the origin elsewhere "
      "is noticed by its first and last MiB only.\n\n"
      "Stopped at any instant, ORIGIN and COW together show the same view, and the same command "
      "resumes.";
  command.options = {{0,
                      "dry-run",
                      OptionKind::kFlag,
                      "",
                      "check everything, say what would be done, write nothing",
                      ValueHint::kNone,
                      {}}};
  command.shared = "fjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
