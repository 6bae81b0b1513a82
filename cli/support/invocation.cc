// SPDX-License-Identifier: Apache-2.0
#include "cli/support/invocation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <span>
#include <thread>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/help.h"
#include "cli/support/json.h"
#include "cli/support/pairs.h"
#include "cli/support/remedy.h"
#include "cli/support/several.h"
#include "cli/support/signals.h"
#include "cli/support/slips.h"
#include "cli/support/stdio.h"
#include "formats/format.h"
#include "libsnap/access/opener.h"
#include "libsnap/access/stream.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {

Result<unsigned> parse_number(std::string_view text, unsigned least, unsigned most,
                              std::string_view what) {
  unsigned number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || end != text.data() + text.size() || number < least || number > most) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} takes a number from {} to {}, not '{}'", what, least, most, text));
  }
  return number;
}

namespace {

constexpr unsigned kMostJobs = 32;
constexpr unsigned kMostDefaultJobs = 8;

Result<ProgressStyle> parse_progress(std::string_view text) {
  if (text.empty()) return ProgressStyle{ProgressStyle::Kind::kBar, 2};
  constexpr std::string_view kJsonl = "jsonl";
  if (text.substr(0, kJsonl.size()) == kJsonl) {
    text.remove_prefix(kJsonl.size());
    if (text.empty()) return ProgressStyle{ProgressStyle::Kind::kJsonl, 2};
    if (text[0] == ':') {
      SNAP_ASSIGN(const unsigned fd,
                  parse_number(text.substr(1), 0, 1 << 20, "--progress=jsonl:FD"));
      if (::fcntl(static_cast<int>(fd), F_GETFD) < 0) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("--progress=jsonl:{}: file descriptor {} is not open", fd, fd));
      }
      return ProgressStyle{ProgressStyle::Kind::kJsonl, static_cast<int>(fd)};
    }
  }
  return Error(ErrorCode::kInvalidArgument, "--progress takes no value, or =jsonl, or =jsonl:FD");
}

// "snaptool merge: <text>" on one line, which no image or name makes longer than a screen.
void print_message(std::string_view command, std::string_view text) {
  constexpr size_t kMost = 3000;
  constexpr size_t kLast = 600;  // what can be done about it
  std::string line;
  if (text.size() <= kMost) {
    line = printable(text);
  } else {
    size_t last = text.size() - kLast;
    while ((text[last] & 0xc0) == 0x80 && last > text.size() - kLast - 3)
      --last;  // whole character
    line = excerpt(text, kMost - kLast) + printable(text.substr(last));
  }
  print_error(fmt::format("snaptool{}{}: {}\n", command.empty() ? "" : " ", command, line));
}

// `command`: nullptr where there is none.
int status_of(const CommandSpec* command, const Error& error) {
  if (error.sys_errno() == EPIPE) return kExitBrokenPipe;
  // What a shell would say of SIGTERM and SIGHUP.
  if (error.code() == ErrorCode::kInterrupted && stop_signal() > 0) return 128 + stop_signal();
  const int status = exit_status_of(error.code());
  return status == kExitFailed && command != nullptr ? command->failed : status;
}

// The "--" after which the words of a program come; the end where there are none.
std::vector<std::string>::const_iterator program_at(const CommandSpec* command,
                                                    const std::vector<std::string>& arguments) {
  if (command == nullptr || !command->runs_program) return arguments.end();
  return std::find(arguments.begin(), arguments.end(), "--");
}

// Whether standard output is to have json. `arguments`: after the command's name.
bool wants_json(const CommandSpec* command, const std::vector<std::string>& arguments) {
  if (command != nullptr) {
    if (const auto options = parse_options(all_options(*command),
                                           {arguments.begin(), program_at(command, arguments)})) {
      const bool has_data = command->prints_data != nullptr && command->prints_data(*options);
      return options->value("output") == "json" && !has_data;
    }
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--output=json") return true;
    if (arguments[i] == "--output" && i + 1 < arguments.size() && arguments[i + 1] == "json") {
      return true;
    }
  }
  return false;
}

// The error on standard output: as a document, or as the end of one that is open.
void print_json_error(std::string_view command, int status, const Error& error,
                      const std::string& text) {
  Json facts = {{"command", command.empty() ? Json() : Json(command)},
                {"exit_status", status},
                {"code", error_code_name(error.code())},
                {"error", text}};
  std::string json;
  if (printed_json().is_empty()) {
    Json whole = {{"format_version", 1}};
    whole.update(facts);
    json = whole.text();
  } else {
    std::string members = facts.line().substr(1);
    members.pop_back();
    json = printed_json().ending(members);
  }
  // Not `print`, which gives up once a signal has come.
  auto ignored = access::write_all(STDOUT_FILENO, std::as_bytes(std::span(json)), Cancel());
  static_cast<void>(ignored);
}

// The exit status of an error, which is told unless it is only a reader that went away.
int report_error(const CommandSpec* command, bool json, const Error& error) {
  if (error.sys_errno() == EPIPE) return kExitBrokenPipe;
  const std::string_view name = command == nullptr ? std::string_view() : command->name;
  std::string text = error.describe() + remedy_text(error.remedy(), name);
  if (error.code() == ErrorCode::kInvalidArgument) {
    text += fmt::format(" (see 'snaptool {}--help')", name.empty() ? "" : fmt::format("{} ", name));
  }
  print_message(name, text);
  const int status = status_of(command, error);
  if (json) print_json_error(name, status, error, text);
  return status;
}

Result<int> run_command(const CommandSpec& command, const std::vector<std::string>& arguments) {
  const auto program = program_at(&command, arguments);
  SNAP_ASSIGN(ParsedOptions options,
              parse_options(all_options(command), {arguments.begin(), program}));
  if (options.has("help")) {
    SNAP_TRY(print(command_help(command)));
    return kExitDone;
  }
  if (options.has("version")) {
    SNAP_TRY(print(version_text()));
    return kExitDone;
  }
  if (const auto told = command.tell == nullptr ? std::nullopt : command.tell(options)) {
    SNAP_TRY(print(*told));
    return kExitDone;
  }
  SNAP_ASSIGN(Invocation invocation, Invocation::create(command, std::move(options)));
  std::vector<std::string> words{std::string(command.name)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (program != arguments.end()) invocation.set_program({program + 1, arguments.end()});
  SNAP_TRY(invocation.start_log(words));
  SNAP_TRY(invocation.note_program(words));
  if (!command.enters_sandbox) invocation.enter_sandbox(invocation.named_files());
  auto status = command.run(invocation);
  auto logged =
      status ? invocation.end_log(*status, "")
             : invocation.end_log(status_of(&command, status.error()), status.error().describe());
  if (logged) return status;
  if (!status || *status != kExitDone) {
    print_message(command.name, logged.error().describe());
    return status;
  }
  return std::move(logged).error();
}

Error no_command(std::string_view word) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("there is no command '{}'{}", word, command_hint(word))};
}

// Where the command is among the arguments: after options that all commands share, if any. Errors:
// kInvalidArgument for other options.
Result<size_t> command_index(const std::vector<std::string>& arguments) {
  const std::vector<OptionSpec> specs = shared_options();
  const auto refused = [](const std::string& word) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' comes after the command: only options that all commands share "
                             "can come before it",
                             word));
  };
  size_t i = 0;
  for (; i < arguments.size() && arguments[i].starts_with('-'); ++i) {
    const std::string& word = arguments[i];
    if (word == "-") return refused(word);
    const bool is_long = word.starts_with("--");
    const std::string name = word.substr(2, is_long ? word.find('=') - 2 : 0);
    bool takes_next = false;
    for (size_t at = 1; at < (is_long ? 2 : word.size()); ++at) {
      const auto spec = std::find_if(specs.begin(), specs.end(), [&](const OptionSpec& one) {
        return is_long ? one.long_name == name : one.short_name == word[at];
      });
      if (spec == specs.end()) return refused(word);
      if (spec->kind != OptionKind::kValue) continue;
      takes_next = is_long ? word.find('=') == std::string::npos : at + 1 == word.size();
      break;
    }
    if (takes_next) ++i;
  }
  return std::min(i, arguments.size());
}

// "help", with or without a command.
Result<int> run_help(const std::vector<std::string>& words) {
  const bool all = words.empty() || words[0] == "help" || words[0] == "--help" || words[0] == "-h";
  const CommandSpec* const command = all ? nullptr : find_command(words[0]);
  if (!all && command == nullptr) return no_command(words[0]);
  SNAP_TRY(print(all ? program_help() : command_help(*command)));
  return kExitDone;
}

// Without a command, there may be only the question what there is.
Result<int> run_without_command(const std::vector<std::string>& options) {
  SNAP_ASSIGN(const ParsedOptions parsed, parse_options(shared_options(), options));
  if (parsed.has("help")) return run_help({});
  if (!parsed.has("version")) return Error(ErrorCode::kInvalidArgument, "a command is missing");
  SNAP_TRY(print(version_text()));
  return kExitDone;
}

// The files that options name to be read.
std::vector<FileId> read_beside(const CommandSpec& command, const ParsedOptions& options) {
  std::vector<FileId> ids;
  for (const OptionSpec& option : all_options(command)) {
    if (option.hint != ValueHint::kFile || option.written) continue;
    for (const std::string& word : options.values(option.long_name)) {
      if (const auto id = access::id_of(word)) ids.push_back(*id);
    }
  }
  return ids;
}

access::Policy policy_of(const CommandSpec& command, const ParsedOptions& options) {
  access::Policy policy;
  policy.force = options.has("force");
  policy.force_share = options.has("force-share");
  policy.ignore_invalid = options.has("ignore-invalid");
  policy.salvage = command.name == "convert" && options.has("salvage");
  if (const auto where = options.value("follow-parents")) {
    policy.follow_parents =
        where->empty() ? access::Parents::kInFolder : access::Parents::kAnywhere;
  }
  policy.from_medium = options.has("direct") || (command.name == "verify" && options.has("data"));
  policy.leave_cache = options.value("cache") == "none";
  policy.known_parent = options.value("base");
  // To export, --parent is a diff.
  if (command.shares(Shared::kParent)) policy.parents = options.values("parent");
  policy.internal_snapshot = options.value("internal-snapshot");
  policy.group_backup = options.value("vgcfg");
  policy.read_beside = read_beside(command, options);
  return policy;
}

// Whether a COW that is named as the output is meant: --force alone may be one word too many.
bool may_replace_cow(const Invocation& invocation) {
  const bool makes_cow = invocation.value("output-format") == "dm-snapshot";
  return invocation.has("no-create") || (makes_cow && invocation.has("force"));
}

}  // namespace

Result<Invocation> Invocation::create(const CommandSpec& command, ParsedOptions options) {
  Invocation invocation(command, std::move(options));
  SNAP_ASSIGN(auto operands,
              with_pairs_joined(command, invocation.operands(), may_replace_cow(invocation)));
  invocation.options_.set_operands(std::move(operands));
  invocation.policy_ = policy_of(command, invocation.options_);
  invocation.jobs_ = std::clamp(std::thread::hardware_concurrency(), 1U, kMostDefaultJobs);
  if (const auto jobs = invocation.value("jobs")) {
    SNAP_ASSIGN(invocation.jobs_, parse_number(*jobs, 1, kMostJobs, "--jobs"));
  }
  if (const auto progress = invocation.value("progress")) {
    SNAP_ASSIGN(invocation.progress_style_, parse_progress(*progress));
  }
  invocation.policy_.printed_to =
      printed_to({STDOUT_FILENO, STDERR_FILENO, invocation.progress_style_.fd});
  if (invocation.quiet() && invocation.progress_style_.kind == ProgressStyle::Kind::kBar) {
    invocation.progress_style_ = {};
  }
  SNAP_ASSIGN(invocation.runs_, runs_of(command, invocation.options_));
  const size_t count = invocation.runs_.front().size();
  if (count > command.max_operands) {
    return Error(ErrorCode::kInvalidArgument, too_many_operands(command, invocation.operands()));
  }
  if (count < command.min_operands) {
    return missing_operands(command, invocation.operand_hint());
  }
  return invocation;
}

std::string Invocation::operand_hint() const { return cli::operand_hint(*command_, options_); }

void Invocation::set_operands(const std::vector<std::string>& operands) {
  options_.set_operands(operands);
  runs_.clear();
  for (const std::string& operand : operands) runs_.push_back({operand});
}

Result<int> Invocation::run_each(const std::function<Result<int>()>& run) {
  if (runs_.size() == 1) return run();
  int worst = kExitDone;
  for (run_ = 0; run_ < runs_.size(); ++run_) {
    if (json()) begin_json();
    options_.set_operands(runs_[run_]);
    const Result<int> status = run();
    if (!status &&
        (status.error().code() == ErrorCode::kInterrupted || status.error().sys_errno() == EPIPE)) {
      return status;
    }
    if (!status) log_result(status.error().describe());
    worst = worse_status(worst, status ? *status : report_error(command_, json(), status.error()));
  }
  return worst;
}

Result<std::optional<uint64_t>> Invocation::size_value(std::string_view option) const {
  const auto text = value(option);
  if (!text) return std::optional<uint64_t>();
  auto size = parse_size(*text);
  if (!size) return std::move(size).error().with_context(fmt::format("--{}", option));
  return std::optional<uint64_t>(*size);
}

const Cancel& Invocation::cancel() const { return stop_requested(); }

access::Context Invocation::access() const {
  return {all_drivers(), policy_, *this, cancel(), jobs_};
}

Result<void> Invocation::start_log(const std::vector<std::string>& arguments) {
  const auto path = value("log");
  if (!path) return {};
  SNAP_TRY(check_log(named_files()));
  SNAP_ASSIGN(log_, CustodyLog::open(*path, arguments));
  policy_.printed_to.push_back(log_->id());
  policy_.read_beside.push_back(log_->id());  // nor is it replaced
  return {};
}

Result<void> Invocation::note_program(const std::vector<std::string>& arguments) {
  command_line_ = "snaptool";
  for (const std::string& word : arguments) command_line_ += " " + shell_quoted(word);
  if (!has("report")) return {};
  SNAP_ASSIGN(program_, program_facts());
  return {};
}

// That it is nothing else: an empty file may be evidence, and a new name that of an output.
Result<void> Invocation::check_log(const NamedFiles& named) const {
  if (!has("log")) return {};
  const std::string path = *value("log");
  const auto whole = [](const std::string& name) {
    std::error_code failed;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(name, failed), failed);
  };
  const auto id = access::id_of(path);
  const auto refused = [&](std::string_view what) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("--log {}: it is {}, too", path, what));
  };
  const auto& printed = policy_.printed_to;
  if (!log_ && id && std::find(printed.begin(), printed.end(), *id) != printed.end()) {
    return refused("where the program prints to");
  }
  for (const auto* const names : {&named.allowed().read, &named.allowed().written}) {
    for (const std::string& name : *names) {
      if ((id && access::id_of(name) == id) || whole(name) == whole(path)) {
        return refused("named for something else");
      }
    }
  }
  for (const std::string& word : operands()) {
    if (whole(word) == whole(path)) return refused("named for something else");
  }
  return {};
}

void Invocation::log_sum(const std::string& of, std::string_view algorithm,
                         const std::string& sum) const {
  if (log_) log_->add_sum(of, algorithm, sum);
}

void Invocation::log_result(std::string_view text) const {
  if (log_) log_->add_text("result", text);
}

Result<void> Invocation::end_log(int status, const std::string& problem) const {
  return log_ ? log_->end(status, problem) : Result<void>();
}

void Invocation::enter_sandbox(const NamedFiles& named) const {
  say(has("no-sandbox") ? "no sandbox: --no-sandbox"
                        : "sandbox: " + snaptool::enter_sandbox(named.allowed()));
}

std::shared_ptr<void> Invocation::show(std::string_view what, const Progress& progress) const {
  return std::make_shared<ProgressReporter>(std::string(what), progress_style_, progress);
}

void Invocation::warn(std::string_view text, Remedy remedy) const {
  const std::string message = fmt::format("{}{}", text, remedy_text(remedy, command_->name));
  if (log_) log_->add_text("warning", text);
  const std::lock_guard lock(*mutex_);
  if (!quiet() && said_.emplace(message).second)
    print_message(command_->name, fmt::format("warning: {}", message));
}

void Invocation::say(std::string_view text) const {
  const std::lock_guard lock(*mutex_);
  if (has("verbose") && said_.emplace(text).second) print_message(command_->name, text);
}

Result<void> Invocation::report(std::string_view text) const {
  if (log_) log_->add_text("result", text);
  if (quiet()) return {};
  auto printed = print(printable_lines(text));
  const bool only_tells = has("dry-run") || has("measure") || has("minimum");
  if (printed || command_->done.empty() || only_tells) return printed;
  return std::move(printed).error().with_context(
      fmt::format("{}, but the report could not be written", command_->done));
}

int run_program(const std::vector<std::string>& arguments) {
  install_signal_handlers();
  const CommandSpec* command = nullptr;
  std::vector<std::string> others;
  const auto run = [&]() -> Result<int> {
    SNAP_ASSIGN(const size_t at, command_index(arguments));
    const auto word = arguments.begin() + static_cast<ptrdiff_t>(at);
    others.assign(arguments.begin(), word);
    if (word == arguments.end()) return run_without_command(others);
    if (*word == "help") return run_help({word + 1, arguments.end()});
    others.insert(others.end(), word + 1, arguments.end());
    command = find_command(*word);
    if (command == nullptr) return no_command(*word);
    return run_command(*command, others);
  };
  const Result<int> status = run();
  return status ? *status : report_error(command, wants_json(command, others), status.error());
}

}  // namespace snaptool::cli
