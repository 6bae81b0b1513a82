// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libsnap/base/result.h"

// In place of std::filesystem's iterators and of std::ifstream, which end the program, or pretend
// that there is nothing, when memory runs out.
namespace snaptool {

// The folder that a path's name is in: "." where it says none.
std::string folder_of(const std::string& path);

// The path behind symbolic links, also where the last of them leads to nothing yet. Where they lead
// in a circle, one of them.
std::string behind_links(const std::string& path);

// The names of a folder's entries, in no order. Errors: kIo.
Result<std::vector<std::string>> names_in(const std::string& folder);

// What to tell of a path that is not there: "there is 'card.E01'", where a file's name differs from
// it in case only, or a question.
std::string note_of_missing(const std::string& path);

// The first line of a short file, as those of sysfs are, without its newline; none when it cannot
// be read.
std::optional<std::string> first_line_of(const std::string& path);

}  // namespace snaptool
