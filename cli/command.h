// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/option.h"

namespace snaptool::cli {

class Invocation;

// One row of the command table. Help, man page, completions and the contract tests are made from
// it.
struct CommandSpec {
  std::string_view name;
  std::string_view operands;  // in the synopsis: "[ORIGIN] COW"
  size_t min_operands = 0;
  size_t max_operands = 0;
  std::string_view summary;         // one line, lower case, no full stop
  std::string_view description;     // plain paragraphs, separated by empty lines
  std::vector<OptionSpec> options;  // its own; the shared ones come from `shared`
  std::string_view shared;  // letters of the shared options beyond -h -V -q -v (see all_options)
  Result<int> (*run)(Invocation&) = nullptr;  // the exit status, or what went wrong
};

// The options that commands share, by their letters: always -h -V -q -v; p (progress), O
// (--output), j, U, f, o, g (--vgcfg).
std::vector<OptionSpec> all_options(const CommandSpec& command);

}  // namespace snaptool::cli
