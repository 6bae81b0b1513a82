// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "libsnap/access/drivers.h"

namespace snaptool::blkid {

// What an image begins with, by libblkid's names: "xfs", "crypto_LUKS". It sees the first MiB, and
// zeros after that. nullopt: nothing that it knows, or several things at once. Errors: those of
// Image.
Result<std::optional<access::FoundFileSystem>> find_file_system(Image& image);

}  // namespace snaptool::blkid
