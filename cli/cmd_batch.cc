// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/script.h"
#include "cli/stdio.h"
#include "cli/writing.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/sha256.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/session.h"

namespace snaptool::cli {
namespace {

using Verb = ScriptCommand::Verb;

// "NAME=COW[,store=P|PO|N][,chunk-size=SIZE]"
struct SnapshotSpec {
  std::string name;
  std::string cow;
  StoreKind kind = StoreKind::kPersistent;
  std::optional<uint64_t> chunk_size;
};

Result<SnapshotSpec> parse_snapshot(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--snapshot takes NAME=COW[,store=P|PO|N][,chunk-size=SIZE], not '{}'", text));
  }
  SnapshotSpec spec{text.substr(0, equals), text.substr(equals + 1), StoreKind::kPersistent, {}};
  // From the end, so that a comma in a file's name does no harm.
  while (true) {
    const size_t comma = spec.cow.rfind(',');
    if (comma == std::string::npos) return spec;
    const std::string option = spec.cow.substr(comma + 1);
    if (option == "store=P") {
      spec.kind = StoreKind::kPersistent;
    } else if (option == "store=PO") {
      spec.kind = StoreKind::kPersistentOverflow;
    } else if (option == "store=N") {
      spec.kind = StoreKind::kTransient;
    } else if (option.rfind("chunk-size=", 0) == 0) {
      SNAP_ASSIGN(spec.chunk_size, parse_chunk_size(option.substr(11)));
    } else if (option.rfind("store=", 0) == 0) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("--snapshot {}: a store is P, PO or N, not '{}'", spec.name,
                               option.substr(6)));
    } else {
      return spec;
    }
    spec.cow.erase(comma);
  }
}

// Everything that is open, in the order in which it must be closed.
struct Opened {
  explicit Opened(const Invocation& invocation) : opener(invocation.access()) {}
  access::Opener opener;
  access::FileSpec origin_spec;
  access::OpenTarget origin;
  std::vector<std::pair<std::string, std::shared_ptr<File>>> cows;  // by the path given
  std::unique_ptr<Session> session;
};

Result<File*> cow_named(const Invocation& invocation, Opened& opened, const std::string& path) {
  for (const auto& [name, file] : opened.cows) {
    if (name == path) return file.get();
  }
  std::vector<File*> others = opened.origin.files();
  for (const auto& [name, file] : opened.cows) others.push_back(file.get());
  SNAP_ASSIGN(const access::FileSpec spec, cow_operand(invocation, path));
  SNAP_ASSIGN(auto cow, access::open_cow(invocation.access(), opened.opener, opened.origin_spec,
                                         spec, others));
  opened.cows.emplace_back(path, std::move(cow));
  return opened.cows.back().second.get();
}

Result<void> add_snapshot(const Invocation& invocation, Opened& opened, const SnapshotSpec& spec) {
  constexpr uint64_t kDefaultChunk = 4 * kKiB;
  const uint64_t chunk = spec.chunk_size.value_or(kDefaultChunk);
  SNAP_ASSIGN(File* const cow, cow_named(invocation, opened, spec.cow));
  SNAP_ASSIGN(const bool is_store, access::looks_like_store(*cow));
  if (spec.kind == StoreKind::kTransient) {
    if (is_store && !invocation.has("force")) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a dm-snapshot store, and a transient snapshot would "
                               "overwrite it (--force does that)",
                               spec.cow));
    }
  } else if (is_store && spec.chunk_size) {
    SNAP_ASSIGN(const auto store, PersistentStore::open(*cow));
    if (store.state() != StoreState::kNone && store.chunk_bytes() != chunk) {
      invocation.warn(fmt::format("'{}' has chunks of {} bytes: that counts, not {}", spec.cow,
                                  store.chunk_bytes(), chunk));
    }
  }
  return opened.session->add(spec.name, *cow, spec.kind, chunk / kSectorSize, invocation.cancel());
}

Result<Opened> open_session(const Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, target_operand(invocation));
  Session::Options options;
  options.discard_tail = invocation.has("force");
  SNAP_ASSIGN(options.in_flight, in_flight_of(invocation));
  SnapshotOptions lower;
  lower.kind = StoreKind::kPersistentOverflow;
  lower.discard_tail = options.discard_tail;
  lower.in_flight = options.in_flight;
  Opened opened(invocation);
  for (const std::string& text : invocation.values("snapshot")) {
    SNAP_ASSIGN(const SnapshotSpec snapshot, parse_snapshot(text));
    SNAP_ASSIGN(const access::FileSpec cow, cow_operand(invocation, snapshot.cow));
    opened.opener.expect_writes(cow);
  }
  opened.origin_spec = spec.base;
  SNAP_ASSIGN(opened.origin, access::open_target(invocation.access(), opened.opener, spec, lower));
  opened.session = std::make_unique<Session>(*opened.origin.top, options);
  for (const std::string& text : invocation.values("snapshot")) {
    SNAP_ASSIGN(const SnapshotSpec snapshot, parse_snapshot(text));
    SNAP_TRY(add_snapshot(invocation, opened, snapshot));
  }
  return opened;
}

// Does the commands of a script and keeps what they print.
class Runner {
 public:
  Runner(const Invocation& invocation, Opened& opened)
      : invocation_(invocation), opened_(opened), session_(*opened.session), buffer_(kIoPiece) {}

  // What of a command can be wrong before anything is done.
  Result<void> check(const ScriptCommand& command) const;
  Result<void> run(const ScriptCommand& command);
  // The status to exit with: that of the first request that was refused.
  int status() const { return status_; }
  Result<void> finish();

 private:
  Result<void> run_command(const ScriptCommand& command);
  Result<void> write(const ScriptCommand& command);
  Result<void> read(const ScriptCommand& command);
  Result<void> print_result(const ScriptCommand& command, std::string_view key,
                            const std::string& value);

  const Invocation& invocation_;
  Opened& opened_;
  Session& session_;
  IoBytes buffer_;
  uint64_t line_ = 0;
  int status_ = kExitDone;
  Json results_ = Json::array();
};

// What the kernel answers with an error, and then goes on.
bool is_refusal(const Error& error) {
  return error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kInvalidated ||
         error.code() == ErrorCode::kUnsupported;
}

Result<void> Runner::check(const ScriptCommand& command) const {
  for (const std::string& name : command.names) {
    if (session_.has(name)) continue;
    return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
  }
  SNAP_TRY(check_range(*opened_.origin.top, command.offset, command.length));
  if (const auto pattern = command.options.value("pattern")) SNAP_TRY(parse_byte(*pattern));
  const auto input = command.options.value("input");
  if (input && (!std::filesystem::exists(*input) || std::filesystem::is_regular_file(*input))) {
    SNAP_TRY(DataSource::open({input, {}, command.length}));
  }
  return {};
}

Result<void> Runner::run(const ScriptCommand& command) {
  line_ = command.line;
  auto done = run_command(command);
  if (done) return {};
  Error error = std::move(done).error().with_context(fmt::format("line {}", line_));
  // A file system that is full is no full snapshot: from there on nothing can be relied on.
  if (!is_refusal(error) || error.sys_errno() != 0) return error;
  if (invocation_.json()) {
    results_.push_back({{"line", line_}, {"error", error_code_name(error.code())}});
  }
  print_error(fmt::format("snaptool batch: {}\n", printable(error.describe())));
  if (status_ == kExitDone) status_ = exit_status_of(error.code());
  return {};
}

Result<void> Runner::print_result(const ScriptCommand& command, std::string_view key,
                                  const std::string& value) {
  if (invocation_.json()) {
    Json result = {{"line", line_}};
    if (!command.names.empty()) result["snapshot"] = command.names.front();
    result[std::string(key)] = value;
    results_.push_back(std::move(result));
    return {};
  }
  return invocation_.report(fmt::format("{}: {}\n", command.names.front(), value));
}

Result<void> Runner::write(const ScriptCommand& command) {
  Image& origin = *opened_.origin.top;
  SNAP_TRY(check_range(origin, command.offset, command.length));
  SNAP_ASSIGN(DataSource source,
              DataSource::open({command.options.value("input"), command.options.value("pattern"),
                                command.length}));
  // A write is one request: to the origin, its copies out are committed together.
  SNAP_ASSIGN(const uint64_t in_flight, in_flight_of(invocation_));
  const bool to_origin = command.verb == Verb::kWriteOrigin;
  buffer_.resize(std::max<uint64_t>(kIoPiece, to_origin ? std::min(in_flight, command.length) : 0));
  for (uint64_t done = 0; done < command.length;) {
    if (invocation_.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const uint64_t got, source.read(buffer_));
    const auto data = std::span(buffer_).first(got);
    if (to_origin) {
      SNAP_TRY(session_.write_origin(command.offset + done, data));
    } else {
      SNAP_TRY(session_.write(command.names.front(), command.offset + done, data));
    }
    done += got;
  }
  return {};
}

Result<void> Runner::read(const ScriptCommand& command) {
  Sha256 hash;
  std::unique_ptr<OutputFile> output;
  if (const auto path = command.options.value("out")) {
    SNAP_TRY(access::check_output_name(*path));
    std::vector<const File*> inputs;
    for (const File* file : opened_.origin.files()) inputs.push_back(file);
    for (const auto& [name, file] : opened_.cows) inputs.push_back(file.get());
    SNAP_ASSIGN(output,
                OutputFile::create(*path, command.length, inputs, invocation_.has("force")));
  }
  buffer_.resize(kIoPiece);
  for (uint64_t done = 0; done < command.length;) {
    if (invocation_.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const auto piece =
        std::span(buffer_).first(std::min<uint64_t>(buffer_.size(), command.length - done));
    SNAP_TRY(session_.read(command.names.front(), command.offset + done, piece));
    hash.update(piece);
    if (output) SNAP_TRY(output->file().write_at(done, piece));
    done += piece.size();
  }
  if (output) SNAP_TRY(output->commit());
  if (!command.options.has("sha256")) return {};
  return print_result(command, "sha256", hash.finish());
}

Result<void> Runner::run_command(const ScriptCommand& command) {
  switch (command.verb) {
    case Verb::kWrite:
    case Verb::kWriteOrigin:
      return write(command);
    case Verb::kRead:
      return read(command);
    case Verb::kDiscard:
      return session_.discard(
          command.names.front(), {command.offset, command.length},
          {invocation_.has("discard-zeroes-cow"), invocation_.has("discard-passdown-origin")});
    case Verb::kStatus: {
      SNAP_ASSIGN(const std::string text, session_.status(command.names.front()));
      return print_result(command, "status",
                          fmt::format("0 {} {}", opened_.origin.top->size() / kSectorSize, text));
    }
    case Verb::kHandover:
      return session_.handover(command.names[0], command.names[1]);
    case Verb::kMerge: {
      Progress progress;
      const ProgressReporter reporter("merging", invocation_.progress_style(), progress);
      return session_.merge(command.names.front(), invocation_.job(progress));
    }
    case Verb::kFlush:
      return session_.flush();
  }
  return {};
}

Result<void> Runner::finish() {
  if (!invocation_.json()) return {};
  const Json json = {{"format_version", 1}, {"results", std::move(results_)}};
  return invocation_.report(json.text());
}

Result<int> run(Invocation& invocation) {
  if (invocation.has("discard-passdown-origin") && !invocation.has("discard-zeroes-cow")) {
    return Error(ErrorCode::kInvalidArgument,
                 "--discard-passdown-origin needs --discard-zeroes-cow, as in the kernel");
  }
  const std::string path = invocation.operands()[1];
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return Error::from_errno(errno, fmt::format("cannot open '{}'", path));
  }
  SNAP_ASSIGN(const auto script, parse_script(path == "-" ? std::cin : file, invocation.cancel()));
  SNAP_ASSIGN(Opened opened, open_session(invocation));
  Runner runner(invocation, opened);
  for (const ScriptCommand& command : script) {
    if (auto right = runner.check(command); !right) {
      return std::move(right).error().with_context(fmt::format("line {}", command.line));
    }
  }
  Result<void> result;
  for (const ScriptCommand& command : script) {
    result = invocation.cancel().requested() ? Error(ErrorCode::kInterrupted, "interrupted")
                                             : runner.run(command);
    if (!result) break;
  }
  if (!result && result.error().code() == ErrorCode::kInterrupted) {
    return std::move(result).error().with_note(
        "what was flushed is kept, of the rest any part may be");
  }
  // What was done before an error stays done.
  const auto flushed = opened.session->flush();
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
  command.description =
      "Has ORIGIN and its snapshots active together, as the kernel would, and does what SCRIPT (or "
      "standard input, '-') says, one command a line: write NAME OFFSET LENGTH -P BYTE or -i FILE; "
      "write-origin OFFSET LENGTH -P BYTE or -i FILE; read NAME OFFSET LENGTH [-o FILE] "
      "[--sha256]; discard NAME OFFSET LENGTH; status NAME; handover FROM TO; merge NAME; flush. "
      "Blank lines, and what follows '#', are comments.\n\n"
      "What was done is durable after flush, after merge and at the end; copies out of the origin "
      "are before it changes. What is full follows the kernel's rules: a P is invalidated, a PO "
      "overflows, and N keeps nothing beyond the end. A request that the kernel would refuse is "
      "told, and the script goes on. SCRIPT is read whole, and a mistake in it is told, before "
      "anything "
      "is done.";
  OptionSpec snapshot{0,
                      "snapshot",
                      OptionKind::kValue,
                      "NAME=COW",
                      "a snapshot of ORIGIN; behind it may stand ,store=P|PO|N (default: P) and "
                      ",chunk-size=SIZE (of an N); may be given several times, and twice for one "
                      "COW: the second then waits for a handover",
                      ValueHint::kNone,
                      {}};
  snapshot.repeatable = true;
  command.options = {
      snapshot,
      {0,
       "discard-zeroes-cow",
       OptionKind::kFlag,
       "",
       "the snapshots take discards, which zero what is in the COW",
       ValueHint::kNone,
       {}},
      {0,
       "discard-passdown-origin",
       OptionKind::kFlag,
       "",
       "discards change the origin, too",
       ValueHint::kNone,
       {}},
      in_flight_option(),
      {0,
       "force",
       OptionKind::kFlag,
       "",
       "drop what a torn write left behind the end of a list; overwrite a store with "
       "a transient snapshot; replace the FILE of a read",
       ValueHint::kNone,
       {}}};
  command.shared = "fjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
