// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/support/command.h"

namespace snaptool::cli {

// Whether there is a file of this name that begins as a dm-snapshot store.
bool is_store(const std::string& path);

// The operands of a command, with ORIGIN COW as ORIGIN@COW where it takes an image: where the COW
// is a dm-snapshot store and the origin is none. Looks at the files. `may_replace`: an output that
// is there may be meant. Errors: kInvalidArgument where there are too many operands, or where the
// output would be the COW, with the words that would do.
Result<std::vector<std::string>> with_pairs_joined(const CommandSpec& command,
                                                   const std::vector<std::string>& operands,
                                                   bool may_replace);

// What an error says of that: "too many operands: ls takes IMAGE [PATH]".
std::string too_many_operands(const CommandSpec& command);

}  // namespace snaptool::cli
