// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/json.h"
#include "libsnap/access/change_file.h"
#include "libsnap/access/drivers.h"

namespace snaptool::cli {

// What info prints of a file: each adds to `json`, and returns lines for a person.

// A diff: of a snapdiff, header and end are read, of rbd's all. Errors: those of its driver.
Result<std::string> describe_changes(access::ChangeFile& changes, Json& json);
// An image of a format that is read: what it says of itself, without its parent.
std::string describe_image(const access::ImageDriver& driver, const access::ImageFacts& facts,
                           Json& json);
// A format that is known, and not read.
std::string describe_known(const access::KnownFormat& known, const File& file,
                           const std::string& path, Json& json);
std::string size_text(std::string_view what, uint64_t size);

}  // namespace snaptool::cli
