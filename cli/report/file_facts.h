// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/json.h"
#include "libsnap/access/file_system.h"

namespace snaptool::cli {

// What a file system says of a file, for people and for programs.

struct NodeTypeName {
  char letter;  // as ls has it
  std::string_view name;
};
NodeTypeName type_name(access::NodeType type);

// "rwsr-x---", as ls has it.
std::string mode_text(uint32_t mode);
// "2026-11-26T09:30:00.000000000Z"; `local`: without the Z. Years beyond those of the calendar are
// as "@SECONDS".
std::string time_text(const access::FileTime& time, bool local);
// "size", "mode", "modified", ...: those that the file system has.
Json node_json(const access::FileNode& node, bool local_times);

}  // namespace snaptool::cli
