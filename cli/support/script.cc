// SPDX-License-Identifier: Apache-2.0
#include "cli/support/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libsnap/base/lines.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

using Verb = ScriptCommand::Verb;

constexpr size_t kLongestLine = 64 * kKiB;

struct Grammar {
  std::string_view word;
  Verb verb;
  size_t names;  // how many snapshots it names
  bool range;    // whether an offset and a length follow
  std::string_view usage;
};

constexpr std::array<Grammar, 8> kGrammar = {{
    {"write", Verb::kWrite, 1, true, "write NAME OFFSET LENGTH -P BYTE|-i FILE"},
    {"write-origin", Verb::kWriteOrigin, 0, true, "write-origin OFFSET LENGTH -P BYTE|-i FILE"},
    {"read", Verb::kRead, 1, true, "read NAME OFFSET LENGTH [-o FILE] [--sha256]"},
    {"discard", Verb::kDiscard, 1, true, "discard NAME OFFSET LENGTH"},
    {"status", Verb::kStatus, 1, false, "status NAME"},
    {"handover", Verb::kHandover, 2, false, "handover FROM TO"},
    {"merge", Verb::kMerge, 1, false, "merge NAME"},
    {"flush", Verb::kFlush, 0, false, "flush"},
}};

std::vector<OptionSpec> options_of(Verb verb) {
  OptionSpec input{'i', "input", OptionKind::kValue, "FILE", "", ValueHint::kFile, {}};
  OptionSpec pattern{'P', "pattern", OptionKind::kValue, "BYTE", "", ValueHint::kNone, {}};
  OptionSpec out{'o', "out", OptionKind::kValue, "FILE", "", ValueHint::kFile, {}};
  OptionSpec sum{0, "sha256", OptionKind::kFlag, "", "", ValueHint::kNone, {}};
  if (verb == Verb::kWrite || verb == Verb::kWriteOrigin) return {input, pattern};
  if (verb == Verb::kRead) return {out, sum};
  return {};
}

}  // namespace

// Whether a backslash in such a quote (0: none) takes the character after it as it is.
static bool escapes(char quote, std::string_view after) {
  if (after.empty() || quote == '\'') return false;
  return quote == 0 || std::string_view("\"\\$`").find(after.front()) != std::string_view::npos;
}

Result<std::vector<std::string>> split_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == 0 && (c == ' ' || c == '\t' || c == '\r')) {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (quote == 0 && !in_word && c == '#') {
      break;
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
      in_word = true;
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (c == '\\' && escapes(quote, line.substr(i + 1))) {
      word += line[++i];
      in_word = true;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("a quote {} is not closed", quote));
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

Result<ScriptCommand> parse_script_command(const std::vector<std::string>& words) {
  const auto grammar =
      std::find_if(kGrammar.begin(), kGrammar.end(),
                   [&](const Grammar& candidate) { return candidate.word == words.front(); });
  if (grammar == kGrammar.end()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("there is no script command '{}'", words.front()));
  }
  ScriptCommand command;
  command.verb = grammar->verb;
  auto parsed = parse_options(options_of(grammar->verb), {words.begin() + 1, words.end()});
  if (!parsed) return std::move(parsed).error();
  command.options = *std::move(parsed);
  const auto& operands = command.options.operands();
  if (operands.size() != grammar->names + (grammar->range ? 2 : 0)) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("this takes: {}", grammar->usage));
  }
  command.names.assign(operands.begin(), operands.begin() + static_cast<ptrdiff_t>(grammar->names));
  if (grammar->range) {
    SNAP_ASSIGN(command.offset, parse_size(operands[grammar->names]));
    SNAP_ASSIGN(command.length, parse_size(operands[grammar->names + 1]));
    if (command.offset % kSectorSize != 0 || command.length % kSectorSize != 0) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("{} bytes at byte {}: a disk takes whole sectors of {} bytes",
                               command.length, command.offset, kSectorSize));
    }
  }
  const bool writes = grammar->verb == Verb::kWrite || grammar->verb == Verb::kWriteOrigin;
  if (writes && command.options.has("input") == command.options.has("pattern")) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("this takes: {}", grammar->usage));
  }
  return command;
}

Result<std::vector<ScriptCommand>> parse_script(std::istream& script, const Cancel& cancel) {
  std::vector<ScriptCommand> commands;
  std::string line;
  for (uint64_t number = 1; read_line(script, line, kLongestLine); ++number) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    if (line.size() > kLongestLine) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("line {} is too long for a command: more than {} bytes", number,
                               kLongestLine));
    }
    const auto words = split_words(line);
    if (words && words->empty()) continue;
    auto command = words ? parse_script_command(*words) : words.error();
    if (!command) return std::move(command).error().with_context(fmt::format("line {}", number));
    command->line = number;
    commands.push_back(*std::move(command));
  }
  if (script.bad()) return Error::from_errno(EIO, "read the script");
  return commands;
}

}  // namespace snaptool::cli
