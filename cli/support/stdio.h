// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/io/file.h"

namespace snaptool::cli {

// Occupies descriptors 0 to 2 where they are closed, so that no file that is opened gets one of
// them: a message would go into it. Using such a stream is still an error.
void occupy_standard_streams();

// The files and block devices that standard output and standard error go into.
std::vector<FileId> printed_to();

Result<void> print(std::string_view text);  // to standard output
// To standard error; there is nobody to tell when that fails.
void print_error(std::string_view text);

// The text on one line: control characters and broken UTF-8 become \xNN.
std::string printable(std::string_view text);
// The word as a POSIX shell would need it quoted.
std::string shell_quoted(std::string_view word);

}  // namespace snaptool::cli
