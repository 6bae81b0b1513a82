// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/support/command.h"

namespace snaptool::cli {

// Whether there is a file of this name that begins as a dm-snapshot store.
bool is_store(const std::string& path);

// Whether there is a file of this name that is one of snaptool's own: of what can be done with it.
bool is_own_file(const std::string& path, Remedy use);
// Whether they are an origin, or the view of one, and a COW.
bool is_pair(const std::string& origin, const std::string& cow);

// The operands of a command, with ORIGIN COW as ORIGIN@COW where it takes an image: where the COW
// is a dm-snapshot store and the origin is none. Looks at the files. `may_replace`: a COW that is
// there may be meant as the output. Errors: kInvalidArgument where there are too many operands, or
// where the output would be the COW, with the words that would do.
Result<std::vector<std::string>> with_pairs_joined(const CommandSpec& command,
                                                   const std::vector<std::string>& operands,
                                                   bool may_replace);

// What an error says of that: "too many operands: ls takes IMAGE [PATH]", and what was meant.
std::string too_many_operands(const CommandSpec& command, const std::vector<std::string>& operands);
// The same of too few; `hint` may follow.
Error missing_operands(const CommandSpec& command, std::string_view hint);

}  // namespace snaptool::cli
