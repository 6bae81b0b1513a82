// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/io/file.h"

namespace snaptool {

// The file of an image that is being made, whose end is not known before.

// Makes sure that the file reaches to `end`; it grows by more than that, as much as it has within
// limits. Errors: kNoSpace where a device, or any file, is smaller; those of File.
Result<void> grow_new_file(File& file, uint64_t end);
// Cuts what it grew too much. A block device keeps its size. Errors: those of File.
Result<void> cut_new_file(File& file, uint64_t end);

}  // namespace snaptool
