// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/input_stream.h"
#include "cli/support/operands.h"
#include "cli/support/script_runner.h"
#include "cli/support/snapshot_option.h"
#include "cli/support/writing.h"
#include "libsnap/ops/session.h"

namespace snaptool::cli {
namespace {

Result<std::vector<ops::Session::Member>> members_of(const Invocation& invocation) {
  std::vector<ops::Session::Member> members;
  for (const std::string& text : invocation.values("snapshot")) {
    SNAP_ASSIGN(const SnapshotOption option, parse_snapshot_option(text));
    SNAP_ASSIGN(access::FileSpec cow, cow_operand(invocation, option.cow));
    members.push_back({option.name, std::move(cow), option.kind, option.chunk_size});
  }
  return members;
}

Result<std::vector<ScriptCommand>> script_of(const Invocation& invocation) {
  const std::string& path = invocation.operands()[1];
  SNAP_ASSIGN(InputStream input, InputStream::open(path));
  auto script = parse_script(input.stream(), invocation.cancel());
  if (input.error()) return *input.error();
  return script;
}

Result<void> enter_sandbox(const Invocation& invocation, const std::vector<ScriptCommand>& script) {
  NamedFiles named = invocation.named_files();
  for (const ScriptCommand& command : script) {
    for (const std::string& path : command.options.values("input")) named.add_read(path);
    for (const std::string& path : command.options.values("out")) named.add_written(path);
  }
  SNAP_TRY(invocation.check_log(named));
  invocation.enter_sandbox(named);
  return {};
}

Result<int> run_batch(Invocation& invocation) {
  if (invocation.has("discard-passdown-origin") && !invocation.has("discard-zeroes-cow")) {
    return Error(ErrorCode::kInvalidArgument,
                 "--discard-passdown-origin needs --discard-zeroes-cow, as in the kernel");
  }
  SNAP_ASSIGN(const auto script, script_of(invocation));
  SNAP_TRY(enter_sandbox(invocation, script));
  SNAP_ASSIGN(const uint64_t in_flight, in_flight_of(invocation));
  SNAP_ASSIGN(const access::ImageSpec origin, target_operand(invocation));
  SNAP_ASSIGN(const auto members, members_of(invocation));
  SNAP_ASSIGN(const auto session,
              ops::Session::prepare(invocation.access(), origin, members, in_flight));
  ScriptRunner runner(invocation, *session, in_flight);
  auto result = runner.run(script);
  if (!result && result.error().code() == ErrorCode::kInterrupted) {
    return std::move(result).error().with_note(
        "what was flushed is kept; any part of the rest may be, too");
  }
  // What was done before an error stays done.
  const auto flushed = session->flush();
  if (!result) return std::move(result).error();
  SNAP_TRY(flushed);
  SNAP_TRY(runner.finish());
  return runner.status();
}

}  // namespace

CommandSpec batch_command() {
  CommandSpec command;
  command.name = "batch";
  command.operands = "ORIGIN SCRIPT";
  command.min_operands = command.max_operands = 2;
  command.summary = "run a script of requests to an origin and its snapshots";
  // clang-format off
  command.description =
      "Runs SCRIPT (or standard input, '-') on ORIGIN and its snapshots, all active together as in the kernel. One command a line: write NAME OFFSET LENGTH -P BYTE or -i FILE; write-origin OFFSET LENGTH -P BYTE or -i FILE; read NAME OFFSET LENGTH [-o FILE] [--sha256]; discard NAME OFFSET LENGTH; status NAME; handover FROM TO; merge NAME; flush. Blank lines are skipped, and '#' starts a comment.\n\n"
      "What was done is durable after flush, after merge and at the end; what a snapshot saves from the origin is durable before the origin changes. A full store behaves as in the kernel: P is invalidated, PO overflows, and N keeps nothing after the end. A request that the kernel would refuse is reported, and the script continues. SCRIPT is read and checked as a whole before anything is done.";
  command.options = {
    repeated(value("snapshot", "NAME=COW", "a snapshot of ORIGIN; add ,store=P|PO|N (default: P) and, for N, ,chunk-size=SIZE; can be repeated, even with the same COW: the second one then waits for a handover")),
    flag("discard-zeroes-cow", "the snapshots accept discards, which zero what is in the COW"),
    flag("discard-passdown-origin", "discards change the origin, too"),
    in_flight_option(),
    flag("force", "drop what a torn write left past the end of a list; overwrite a store with a transient snapshot; replace the FILE of a read"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kJobs, Shared::kProgress, Shared::kJson,
                    Shared::kGroupBackup};
  command.writes = Writes::kFirst;
  command.enters_sandbox = true;
  command.run = run_batch;
  return command;
}

}  // namespace snaptool::cli
