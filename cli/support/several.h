// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/support/command.h"

namespace snaptool::cli {

// The operands of each run of the command: one, unless it takes several things (CommandSpec::each)
// and several are given. Of two, unless each is a store or an image that has checksums of its own,
// the first is the origin of the other.
// Looks at the files. Errors: kInvalidArgument for an option that is about one thing.
Result<std::vector<std::vector<std::string>>> runs_of(const CommandSpec& command,
                                                      const ParsedOptions& options);

// Which of two exit statuses a command that did both ends with.
int worse_status(int a, int b);

}  // namespace snaptool::cli
