// SPDX-License-Identifier: Apache-2.0
#include "cli/support/script_runner.h"

#include <fmt/format.h>

#include <filesystem>

#include "cli/support/data_source.h"
#include "cli/support/remedy.h"
#include "cli/support/stdio.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/ops/write.h"

namespace snaptool::cli {
namespace {

using Verb = ScriptCommand::Verb;

}  // namespace

// What of a command can be wrong before anything is done.
Result<void> ScriptRunner::check(const ScriptCommand& command) const {
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

Result<void> ScriptRunner::run_one(const ScriptCommand& command) {
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
  const std::string text = error.describe() + remedy_text(error.remedy(), "batch");
  if (invocation_.json()) {
    results_.push_back(
        {{"line", command.line}, {"code", error_code_name(error.code())}, {"error", text}});
  }
  print_error(text_line("snaptool batch: {}", text));
  if (status_ == kExitDone) status_ = exit_status_of(error.code());
  return {};
}

Result<void> ScriptRunner::finish() {
  if (!invocation_.json()) return {};
  const Json json = {{"format_version", 1}, {"results", std::move(results_)}};
  return invocation_.report(json.text());
}

Result<void> ScriptRunner::print_result(const ScriptCommand& command, std::string_view key,
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

Result<void> ScriptRunner::write(const ScriptCommand& command) {
  SNAP_ASSIGN(DataSource source,
              DataSource::open({command.options.value("input"), command.options.value("pattern"),
                                command.length}));
  // A write is one request: to the origin, its copies out are committed together.
  const bool to_origin = command.verb == Verb::kWriteOrigin;
  RawBytes buffer(std::min(command.length, to_origin ? std::max(in_flight_, kIoPiece) : kIoPiece));
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

Result<void> ScriptRunner::run_command(const ScriptCommand& command) {
  const ByteRange range{command.offset, command.length};
  switch (command.verb) {
    case Verb::kWrite:
    case Verb::kWriteOrigin:
      return write(command);
    case Verb::kRead: {
      SNAP_ASSIGN(const std::string sum,
                  session_.read_to(command.names.front(), range, command.options.value("out")));
      return command.options.has("sha256") ? print_result(command, "sha256", sum) : Result<void>();
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

Result<void> ScriptRunner::run(const std::vector<ScriptCommand>& script) {
  for (const ScriptCommand& command : script) {
    if (auto right = check(command); !right) {
      return std::move(right).error().with_context(fmt::format("line {}", command.line));
    }
  }
  for (const ScriptCommand& command : script) {
    if (invocation_.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(run_one(command));
  }
  return {};
}

}  // namespace snaptool::cli
