// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "libsnap/access/drivers.h"

namespace snaptool {

// The format that the file has the magic of, at its start or its end; nullptr: none that is known.
// What is read as an image is not among them. Magics and fixed places only: formats/KNOWN.md has
// the sources. Errors: those of File.
Result<const access::KnownFormat*> detect_known_format(File& file);
// The file system that an image has the magic of, by its first kFileSystemHead bytes, and whose
// files are not read; empty: none that is known.
std::string_view known_file_system(std::span<const std::byte> head);

}  // namespace snaptool
