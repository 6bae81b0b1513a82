// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "cli/support/exit_status.h"
#include "cli/support/option.h"

namespace snaptool::cli {

class Invocation;

// Options that commands share; --help, --version, --quiet and --verbose are everybody's.
enum class Shared {
  kProgress,       // --progress
  kJson,           // --output
  kJobs,           // --jobs
  kForceShare,     // --force-share
  kFormat,         // --format
  kSecondFormat,   // --second-format
  kOut,            // --out
  kCache,          // --cache
  kGroupBackup,    // --vgcfg
  kFollowParents,  // --follow-parents
  kParent,         // --parent, --internal-snapshot
  kIgnoreInvalid,  // --ignore-invalid
};

// Which operands are made or written to, unless --out or --dry-run is given. What a command does
// not say here it cannot do (sandbox.h).
enum class Writes { kNothing, kFirst, kLast, kAll };

// Which operands are images that can be given as ORIGIN COW, too, besides ORIGIN@COW.
enum class Pairs { kNone, kFirst, kEach };

// One row of the command table. Help, man page, completions and the contract tests are made from
// it.
struct CommandSpec {
  std::string_view name;
  std::string_view operands;  // in the synopsis: "[ORIGIN] COW"
  // What it takes several of, one after the other, each as if it were alone: "IMAGE IMAGE...";
  // empty: nothing.
  std::string_view each;
  std::string_view other_form;  // one more synopsis, with its option; empty: none
  size_t min_operands = 0;
  size_t max_operands = 0;          // of one run
  std::string_view summary;         // one line, lower case, no full stop
  std::string_view description;     // plain paragraphs, separated by empty lines
  std::vector<OptionSpec> options;  // its own
  std::vector<Shared> shared;
  bool shares(Shared option) const {
    return std::find(shared.begin(), shared.end(), option) != shared.end();
  }
  Writes writes = Writes::kNothing;
  Pairs pairs = Pairs::kNone;
  // Where it takes one image: what to type for two; nullptr: nothing.
  std::string (*hint_of_two)(const std::string& first, const std::string& second) = nullptr;
  std::string_view extra_option;  // that one operand too many is the value of: "-o"
  std::string_view done;  // what is done when the report is printed: "merged"; empty: nothing is
  bool runs_program = false;    // the words after "--" are a program and its arguments
  bool enters_sandbox = false;  // by itself, after what it must open first
  // What its options ask to be told, as help does, instead of a run; nullptr: nothing.
  std::optional<std::string> (*tell)(const ParsedOptions&) = nullptr;
  // Whether standard output gets data that are no text; nullptr: never.
  bool (*prints_data)(const ParsedOptions&) = nullptr;
  int failed = kExitFailed;                   // the exit status where that one has another meaning
  Result<int> (*run)(Invocation&) = nullptr;  // the exit status, or what went wrong
};

// Those that commands share, all of them.
std::vector<OptionSpec> shared_options();
// Its own options and those that it shares, in the order of the help.
std::vector<OptionSpec> all_options(const CommandSpec& command);

}  // namespace snaptool::cli
