// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "cli/support/command.h"

namespace snaptool::cli {

// Every command there is, in the order of the help.
const std::vector<CommandSpec>& command_table();

const CommandSpec* find_command(std::string_view name);

// The rows, each defined beside the command's code.
CommandSpec apply_command();
CommandSpec batch_command();
CommandSpec cat_command();
CommandSpec compose_command();
CommandSpec create_command();
CommandSpec diff_command();
CommandSpec diff_verify_command();
CommandSpec discard_command();
CommandSpec dump_command();
CommandSpec export_command();
CommandSpec hash_command();
CommandSpec info_command();
CommandSpec invert_command();
CommandSpec ls_command();
CommandSpec map_command();
CommandSpec convert_command();
CommandSpec merge_command();
CommandSpec read_command();
CommandSpec repair_command();
CommandSpec resize_command();
CommandSpec restore_command();
CommandSpec status_command();
CommandSpec serve_command();
CommandSpec undo_command();
CommandSpec verify_command();
CommandSpec write_command();
CommandSpec write_origin_command();

}  // namespace snaptool::cli
