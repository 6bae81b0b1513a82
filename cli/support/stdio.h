// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/printable.h"
#include "libsnap/base/result.h"
#include "libsnap/io/file.h"

namespace snaptool::cli {

// Occupies descriptors 0 to 2 where they are closed, so that no file that is opened gets one of
// them: a message would go into it. Using such a stream is still an error.
void occupy_standard_streams();
// Lets as many files be open as the system allows: an image may have thousands.
void allow_many_files();

// The files and block devices that are open for writing as these descriptors.
std::vector<FileId> printed_to(const std::vector<int>& fds);

Result<void> print(std::string_view text);  // to standard output
// To standard error; there is nobody to tell when that fails.
void print_error(std::string_view text);

// A line of a report: whatever the arguments hold, it is one line of text.
template <typename... Args>
std::string text_line(fmt::format_string<Args...> format, Args&&... args) {
  return printable(fmt::format(format, std::forward<Args>(args)...)) + "\n";
}

// The word as a POSIX shell would need it quoted.
std::string shell_quoted(std::string_view word);

}  // namespace snaptool::cli
