// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "cli/support/command.h"
#include "cli/support/custody_log.h"
#include "cli/support/named_files.h"
#include "cli/support/program_facts.h"
#include "cli/support/progress_reporter.h"
#include "libsnap/access/context.h"
#include "libsnap/base/progress.h"

namespace snaptool::cli {

// One run of a command: its parsed options, the shared ones already understood, and how it talks to
// the user.
class Invocation : public access::Notices {
 public:
  // Errors: kInvalidArgument when a shared option has a bad value or the number of operands is
  // wrong.
  static Result<Invocation> create(const CommandSpec& command, ParsedOptions options);

  const CommandSpec& command() const { return *command_; }
  const std::vector<std::string>& operands() const { return options_.operands(); }
  // What takes several things (CommandSpec::each) does its work once for each: how often, and which
  // of them this is. `operands` are those of this run.
  size_t run_count() const { return runs_.size(); }
  size_t run() const { return run_; }
  // All runs, or up to one that was interrupted. The error of each of several is told at once; the
  // worst exit status is returned.
  Result<int> run_each(const std::function<Result<int>()>& run);
  // One run for each of these, instead of what was given.
  void set_operands(const std::vector<std::string>& operands);
  bool has(std::string_view option) const { return options_.has(option); }
  std::optional<std::string> value(std::string_view option) const { return options_.value(option); }
  std::vector<std::string> values(std::string_view option) const { return options_.values(option); }
  // "; is 'x' an operand, and not the value of --undo?"; empty: no option has a file that exists.
  std::string operand_hint() const;
  // The words after "--": a program and its arguments (CommandSpec::runs_program).
  const std::vector<std::string>& program_to_run() const { return program_words_; }
  void set_program(std::vector<std::string> words) { program_words_ = std::move(words); }
  // The value of an option as a size in bytes; nullopt when it was not given.
  Result<std::optional<uint64_t>> size_value(std::string_view option) const;

  bool json() const { return options_.value("output") == "json"; }
  bool quiet() const { return has("quiet"); }
  bool force_share() const { return has("force-share"); }
  const Cancel& cancel() const;
  // With what files are opened. It stays good as long as this does.
  access::Context access() const;

  // With --log, before anything is opened. `arguments`: all of the command line. Errors: those of
  // CustodyLog::open.
  Result<void> start_log(const std::vector<std::string>& arguments);
  // That the log is none of these, and nothing else that is named. Errors: kInvalidArgument.
  Result<void> check_log(const NamedFiles& named) const;
  // A sum of an image, for the log.
  void log_sum(const std::string& of, std::string_view algorithm, const std::string& sum) const;
  // What a command that prints no sentence found out, for the log.
  void log_result(std::string_view text) const;
  // For the log; an error where it could not be written.
  Result<void> end_log(int status, const std::string& problem) const;

  // What a report says of this run; before the sandbox. Errors: those of program_facts.
  Result<void> note_program(const std::vector<std::string>& arguments);
  const std::string& command_line() const { return command_line_; }  // quoted for a shell
  // Empty without --report.
  const ProgramFacts& program() const { return program_; }

  // Before anything is read: from here on this run can open no files but those that its command
  // line names, and `named`. Unless --no-sandbox.
  void enter_sandbox(const NamedFiles& named) const;
  NamedFiles named_files() const { return NamedFiles(*command_, options_, policy_); }

  // "snaptool merge: warning: ..." on standard error, unless --quiet; the same text only once.
  void warn(std::string_view text, Remedy remedy = Remedy::kNone) const override;
  // The same without "warning: ", only with --verbose.
  void say(std::string_view text) const override;
  std::shared_ptr<void> show(std::string_view what, const Progress& progress) const override;
  // A result on standard output, unless --quiet.
  Result<void> report(std::string_view text) const;

 private:
  Invocation(const CommandSpec& command, ParsedOptions options)
      : command_(&command), options_(std::move(options)) {}

  const CommandSpec* command_;
  ParsedOptions options_;
  access::Policy policy_;
  std::vector<std::vector<std::string>> runs_;
  size_t run_ = 0;
  std::vector<std::string> program_words_;
  std::string command_line_;
  ProgramFacts program_;
  unsigned jobs_ = 1;
  ProgressStyle progress_style_;
  // Images warn from any thread.
  std::unique_ptr<CustodyLog> log_;  // nullptr: none
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  mutable std::set<std::string, std::less<>> said_;  // warnings among it; guarded by mutex_
};

// A number that an option takes. Errors: kInvalidArgument.
Result<unsigned> parse_number(std::string_view text, unsigned least, unsigned most,
                              std::string_view what);

// Runs the program. Returns its exit status.
int run_program(const std::vector<std::string>& arguments);

}  // namespace snaptool::cli
