// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "cli/support/option.h"
#include "libsnap/base/progress.h"

namespace snaptool::cli {

// A script of batch: one command a line, words separated by blanks; quotes ("..." or '...') and
// backslashes as in a shell; what follows a word '#' is a comment.

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
  uint64_t line = 0;  // from 1
  Verb verb = Verb::kFlush;
  std::vector<std::string> names;  // of snapshots
  uint64_t offset = 0;             // bytes
  uint64_t length = 0;
  ParsedOptions options;
};
// The words of a line. Errors: kInvalidArgument for a quote that is not closed.
Result<std::vector<std::string>> split_words(std::string_view line);

// Parses the words of one line. Errors: kInvalidArgument.
Result<ScriptCommand> parse_script_command(const std::vector<std::string>& words);

// Parses all of a script, so that no mistake is found when some of it was done. Errors:
// kInvalidArgument, with the line; kIo; kInterrupted.
Result<std::vector<ScriptCommand>> parse_script(std::istream& script, const Cancel& cancel);

}  // namespace snaptool::cli
