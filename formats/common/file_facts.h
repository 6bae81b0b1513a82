// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "libsnap/access/file_system.h"

namespace snaptool {

// What several file systems say of files in the same way.

// Of a mode as Unix has it; kOther for one that says nothing.
access::NodeType type_of_mode(uint32_t mode);
// Fit to be the name of an entry, or of a stream.
bool is_sound_name(std::string_view name);
// A number over these bytes, for FileNode::metadata_sum. It is mixed so that those of several may
// be added.
uint64_t bytes_sum(std::span<const std::byte> bytes, uint64_t seed);

}  // namespace snaptool
