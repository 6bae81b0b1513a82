// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "cli/command_table.h"
#include "cli/data_source.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/script.h"
#include "cli/snapshot_option.h"
#include "cli/stdio.h"
#include "cli/writing.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/ops/session.h"

namespace snaptool::cli {
namespace {

using Verb = ScriptCommand::Verb;

Result<std::vector<ops::Session::Member>> members_of(const Invocation& invocation) {
  std::vector<ops::Session::Member> members;
  for (const std::string& text : invocation.values("snapshot")) {
    SNAP_ASSIGN(const SnapshotOption option, parse_snapshot_option(text));
    SNAP_ASSIGN(access::FileSpec cow, cow_operand(invocation, option.cow));
    members.push_back({option.name, std::move(cow), option.kind, option.chunk_size});
  }
  return members;
}

// Does the commands of a script and keeps what they print.
class Runner {
 public:
  Runner(const Invocation& invocation, ops::Session& session, uint64_t in_flight)
      : invocation_(invocation), session_(session), in_flight_(in_flight) {}

  // What of a command can be wrong before anything is done.
  Result<void> check(const ScriptCommand& command) const {
    for (const std::string& name : command.names) {
      if (session_.has(name)) continue;
      return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
    }
    SNAP_TRY(ops::check_range(session_.origin(), command.offset, command.length));
    if (const auto pattern = command.options.value("pattern")) SNAP_TRY(parse_byte(*pattern));
    const auto input = command.options.value("input");
    if (input && (!std::filesystem::exists(*input) || std::filesystem::is_regular_file(*input))) {
      SNAP_TRY(DataSource::open({input, {}, command.length}));
    }
    return {};
  }

  Result<void> run(const ScriptCommand& command) {
    auto done = run_command(command);
    if (done) return {};
    Error error = std::move(done).error().with_context(fmt::format("line {}", command.line));
    // What the kernel answers with an error, and then goes on. A file system that is full is no
    // full snapshot: from there on nothing can be relied on.
    const bool refused =
        (error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kInvalidated ||
         error.code() == ErrorCode::kUnsupported) &&
        error.sys_errno() == 0;
    if (!refused) return error;
    if (invocation_.json()) {
      results_.push_back({{"line", command.line}, {"error", error_code_name(error.code())}});
    }
    print_error(fmt::format("snaptool batch: {}\n", printable(error.describe())));
    if (status_ == kExitDone) status_ = exit_status_of(error.code());
    return {};
  }

  // The status to exit with: that of the first request that was refused.
  int status() const { return status_; }

  Result<void> finish() {
    if (!invocation_.json()) return {};
    const Json json = {{"format_version", 1}, {"results", std::move(results_)}};
    return invocation_.report(json.text());
  }

 private:
  Result<void> print_result(const ScriptCommand& command, std::string_view key,
                            const std::string& value) {
    if (!invocation_.json()) {
      return invocation_.report(fmt::format("{}: {}\n", command.names.front(), value));
    }
    Json result = {{"line", command.line}};
    if (!command.names.empty()) result["snapshot"] = command.names.front();
    result[std::string(key)] = value;
    results_.push_back(std::move(result));
    return {};
  }

  Result<void> write(const ScriptCommand& command) {
    SNAP_ASSIGN(DataSource source,
                DataSource::open({command.options.value("input"), command.options.value("pattern"),
                                  command.length}));
    // A write is one request: to the origin, its copies out are committed together.
    const bool to_origin = command.verb == Verb::kWriteOrigin;
    IoBytes buffer(
        std::max<uint64_t>(kIoPiece, to_origin ? std::min(in_flight_, command.length) : 0));
    for (uint64_t done = 0; done < command.length;) {
      if (invocation_.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_ASSIGN(const uint64_t got, source.read(buffer));
      const auto data = std::span(buffer).first(got);
      SNAP_TRY(to_origin ? session_.write_origin(command.offset + done, data)
                         : session_.write(command.names.front(), command.offset + done, data));
      done += got;
    }
    return {};
  }

  Result<void> run_command(const ScriptCommand& command) {
    const ByteRange range{command.offset, command.length};
    switch (command.verb) {
      case Verb::kWrite:
      case Verb::kWriteOrigin:
        return write(command);
      case Verb::kRead: {
        SNAP_ASSIGN(const std::string sum,
                    session_.read_to(command.names.front(), range, command.options.value("out")));
        return command.options.has("sha256") ? print_result(command, "sha256", sum)
                                             : Result<void>();
      }
      case Verb::kDiscard:
        return session_.discard(
            command.names.front(), range,
            {invocation_.has("discard-zeroes-cow"), invocation_.has("discard-passdown-origin")});
      case Verb::kStatus: {
        SNAP_ASSIGN(const std::string text, session_.status(command.names.front()));
        return print_result(command, "status",
                            fmt::format("0 {} {}", session_.origin().size() / kSectorSize, text));
      }
      case Verb::kHandover:
        return session_.handover(command.names[0], command.names[1]);
      case Verb::kMerge:
        return session_.merge(command.names.front());
      case Verb::kFlush:
        return session_.flush();
    }
    return {};
  }

  const Invocation& invocation_;
  ops::Session& session_;
  uint64_t in_flight_;
  int status_ = kExitDone;
  Json results_ = Json::array();
};

Result<std::vector<ScriptCommand>> script_of(const Invocation& invocation) {
  const std::string& path = invocation.operands()[1];
  if (path == "-") return parse_script(std::cin, invocation.cancel());
  std::ifstream file(path);
  if (!file) return Error::from_errno(errno, fmt::format("cannot open '{}'", path));
  return parse_script(file, invocation.cancel());
}

// Each of them, until one cannot go on.
Result<void> run_all(const Invocation& invocation, const std::vector<ScriptCommand>& script,
                     Runner& runner) {
  for (const ScriptCommand& command : script) {
    if (auto right = runner.check(command); !right) {
      return std::move(right).error().with_context(fmt::format("line {}", command.line));
    }
  }
  for (const ScriptCommand& command : script) {
    if (invocation.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(runner.run(command));
  }
  return {};
}

Result<int> run(Invocation& invocation) {
  if (invocation.has("discard-passdown-origin") && !invocation.has("discard-zeroes-cow")) {
    return Error(ErrorCode::kInvalidArgument,
                 "--discard-passdown-origin needs --discard-zeroes-cow, as in the kernel");
  }
  SNAP_ASSIGN(const auto script, script_of(invocation));
  SNAP_ASSIGN(const uint64_t in_flight, in_flight_of(invocation));
  SNAP_ASSIGN(const access::ImageSpec origin, target_operand(invocation));
  SNAP_ASSIGN(const auto members, members_of(invocation));
  SNAP_ASSIGN(const auto session,
              ops::Session::prepare(invocation.access(), origin, members, in_flight));
  Runner runner(invocation, *session, in_flight);
  auto result = run_all(invocation, script, runner);
  if (!result && result.error().code() == ErrorCode::kInterrupted) {
    return std::move(result).error().with_note(
        "what was flushed is kept, of the rest any part may be");
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
  command.summary = "do a script of requests to an origin and its snapshots";
  // clang-format off
  command.description =
      "Has ORIGIN and its snapshots active together, as the kernel would, and does what SCRIPT (or standard input, '-') says, one command a line: write NAME OFFSET LENGTH -P BYTE or -i FILE; write-origin OFFSET LENGTH -P BYTE or -i FILE; read NAME OFFSET LENGTH [-o FILE] [--sha256]; discard NAME OFFSET LENGTH; status NAME; handover FROM TO; merge NAME; flush. Blank lines, and what follows '#', are comments.\n\n"
      "What was done is durable after flush, after merge and at the end; copies out of the origin are before it changes. What is full follows the kernel's rules: a P is invalidated, a PO overflows, and N keeps nothing beyond the end. A request that the kernel would refuse is told, and the script goes on. SCRIPT is read whole, and a mistake in it is told, before anything is done.";
  command.options = {
    repeated(value("snapshot", "NAME=COW", "a snapshot of ORIGIN; behind it may stand ,store=P|PO|N (default: P) and ,chunk-size=SIZE (of an N); may be given several times, and twice for one COW: the second then waits for a handover")),
    flag("discard-zeroes-cow", "the snapshots take discards, which zero what is in the COW"),
    flag("discard-passdown-origin", "discards change the origin, too"),
    in_flight_option(),
    flag("force", "drop what a torn write left behind the end of a list; overwrite a store with a transient snapshot; replace the FILE of a read"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kJobs, Shared::kProgress, Shared::kJson,
                    Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
