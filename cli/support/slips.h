// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/support/command.h"
#include "cli/support/option.h"

namespace snaptool::cli {

// What a word that is not understood was probably meant to be. Only said, never done.

// The one of `known` that `word` is the beginning of (three letters or more), or is but for a slip
// or two: a letter too many, missing, wrong or swapped. nullopt: none, or several.
std::optional<std::string_view> near_miss(std::string_view word,
                                          const std::vector<std::string_view>& known);

// ASCII letters only.
std::string lower_case(std::string_view text);

// Of a word that is no command: "; did you mean 'snaptool verify'?", also where it is what another
// tool calls it. Empty: nobody knows.
std::string command_hint(std::string_view word);

// Of an option that is none of `specs`, as it was given among `arguments`: ": did you mean
// --dry-run?". Empty: nobody knows.
std::string option_hint(const std::vector<OptionSpec>& specs, std::string_view option,
                        const std::vector<std::string>& arguments);

// Where an operand is missing and an option to be written to was given the name of a file that is
// there: "; is 'a.img' an operand, and not the value of --report?". Empty: none was.
std::string operand_hint(const CommandSpec& command, const ParsedOptions& options);

}  // namespace snaptool::cli
