// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/io/file.h"

namespace snaptool {

// Follows loop devices and partitions as /sys tells of them, to where the bytes lie in the end: a
// loop device's in the file behind it, a partition's in its disk. What /sys does not tell of ends
// the way.
Storage storage_of(const Storage& storage);

bool overlap(const Storage& a, const Storage& b);

// Whether both take space of one file system when they grow.
bool on_one_file_system(const File& a, const File& b);

// Whether a write to one of them may change the other. What has no id shares nothing.
bool share_storage(const File& a, const File& b);

}  // namespace snaptool
