// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/option.h"

namespace snaptool::cli {

// A script of batch: one command a line, words separated by blanks; quotes ("..." or '...') and
// backslashes as in a shell; what follows a word '#' is a comment.

// The words of a line. Errors: kInvalidArgument for a quote that is not closed.
Result<std::vector<std::string>> split_words(std::string_view line);

// A request of a script.
struct ScriptCommand {
  enum class Verb {
    kWrite,
    kWriteOrigin,
    kRead,
    kDiscard,
    kStatus,
    kHandover,
    kMerge,
    kFlush,
  };
  Verb verb = Verb::kFlush;
  std::vector<std::string> names;  // of snapshots
  uint64_t offset = 0;             // bytes
  uint64_t length = 0;
  ParsedOptions options;
};
// Parses the words of one line. Errors: kInvalidArgument.
Result<ScriptCommand> parse_script_command(const std::vector<std::string>& words);

}  // namespace snaptool::cli
