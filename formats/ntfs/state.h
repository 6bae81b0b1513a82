// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ntfs/files.h"

namespace snaptool::ntfs {

// Finds the label, and warns of what state the file system was left in. Errors: those of Image,
// kInterrupted; what is damaged is warned of.
Result<std::string> read_state(Volume& volume, Files& files);

}  // namespace snaptool::ntfs
