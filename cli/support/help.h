// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/command.h"

namespace snaptool::cli {

std::string program_help();
std::string command_help(const CommandSpec& command);
// The operands of a command that takes an image, with ORIGIN COW in its place; empty: it cannot be.
std::string operands_with_pair(const CommandSpec& command);
std::string version_text();
// "-o, --out FILE"; the part before the help text.
std::string option_heading(const OptionSpec& option);

}  // namespace snaptool::cli
