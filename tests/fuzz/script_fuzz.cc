// SPDX-License-Identifier: Apache-2.0
// Any bytes as a script of batch: nothing crashes, it is accepted if each of its lines is, every
// command is in its bounds, and words that are quoted for a shell are read back.
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <sstream>

#include "cli/support/script.h"
#include "cli/support/stdio.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_target.h"

namespace snaptool::test {
namespace {

using cli::ScriptCommand;
using Verb = ScriptCommand::Verb;
using Words = std::vector<std::string>;

constexpr size_t kLongestLine = 64 * kKiB;

void require(bool condition) {
  if (!condition) std::abort();
}

// What $'...' means to a shell.
std::string unquoted(std::string_view quoted) {
  require(quoted.size() >= 3 && quoted.starts_with("$'") && quoted.ends_with('\''));
  quoted = quoted.substr(2, quoted.size() - 3);
  std::string word;
  for (size_t i = 0; i < quoted.size(); ++i) {
    require(quoted[i] != '\'');
    if (quoted[i] != '\\') {
      word += quoted[i];
      continue;
    }
    require(++i < quoted.size());
    if (quoted[i] == 'x') {
      require(i + 2 < quoted.size());
      word += static_cast<char>(std::stoi(std::string(quoted.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      require(quoted[i] == '\\' || quoted[i] == '\'');
      word += quoted[i];
    }
  }
  return word;
}

void check_quoting(const Words& words) {
  Words plain;
  std::string line;
  for (const std::string& word : words) {
    const std::string quoted = cli::shell_quoted(word);
    require(printable(quoted) == quoted);
    if (printable(word) == word) {
      line += (plain.empty() ? "" : " ") + quoted;
      plain.push_back(word);
    } else {
      require(unquoted(quoted) == word);
    }
  }
  const auto again = cli::split_words(line);
  require(again && *again == plain);
}

struct Shape {
  size_t names;
  bool range;
  bool data;
};

Shape shape_of(Verb verb) {
  switch (verb) {
    case Verb::kWrite:
      return {1, true, true};
    case Verb::kWriteOrigin:
      return {0, true, true};
    case Verb::kRead:
    case Verb::kDiscard:
      return {1, true, false};
    case Verb::kStatus:
    case Verb::kMerge:
      return {1, false, false};
    case Verb::kHandover:
      return {2, false, false};
    case Verb::kFlush:
      return {0, false, false};
  }
  std::abort();
}

void check_bounds(const ScriptCommand& command) {
  const Shape shape = shape_of(command.verb);
  const cli::ParsedOptions& options = command.options;
  require(command.names.size() == shape.names);
  require(options.operands().size() == shape.names + (shape.range ? 2 : 0));
  require(shape.range || (command.offset == 0 && command.length == 0));
  for (const uint64_t number : {command.offset, command.length}) {
    require(number % kSectorSize == 0 && number <= kMaxFileSize);
  }
  require((options.has("input") != options.has("pattern")) == shape.data);
  require(shape.data || !options.has("input"));
  require(command.verb == Verb::kRead || (!options.has("out") && !options.has("sha256")));
}

bool same(const ScriptCommand& a, const ScriptCommand& b) {
  for (const char* const option : {"input", "pattern", "out", "sha256"}) {
    if (a.options.value(option) != b.options.value(option)) return false;
  }
  return a.verb == b.verb && a.line == b.line && a.names == b.names && a.offset == b.offset &&
         a.length == b.length;
}

// The commands, line by line; `wrong` is the first line that is none, or 0.
std::vector<ScriptCommand> commands_of(const std::string& text, uint64_t& wrong) {
  std::vector<ScriptCommand> commands;
  std::istringstream in(text);
  std::string line;
  for (uint64_t number = 1; std::getline(in, line); ++number) {
    wrong = number;
    if (line.size() > kLongestLine) return commands;
    const auto words = cli::split_words(line);
    if (!words) return commands;
    check_quoting(*words);
    if (words->empty()) continue;
    auto command = cli::parse_script_command(*words);
    if (!command) return commands;
    check_bounds(*command);
    command->line = number;
    commands.push_back(*std::move(command));
  }
  wrong = 0;
  return commands;
}

void try_script(const std::string& text) {
  uint64_t wrong = 0;
  const auto expected = commands_of(text, wrong);
  std::istringstream in(text);
  const Cancel cancel;
  const auto script = cli::parse_script(in, cancel);
  require(script.has_value() == (wrong == 0));
  if (!script) {
    require(script.error().code() == ErrorCode::kInvalidArgument);
    require(script.error().describe().starts_with(fmt::format("line {}", wrong)));
    return;
  }
  require(script->size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) require(same((*script)[i], expected[i]));
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(script)(const uint8_t* data, size_t size) {
  if (size > snaptool::kMiB) return 0;
  snaptool::test::try_script(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
