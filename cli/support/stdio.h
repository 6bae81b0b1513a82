// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/support/json_follower.h"
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
// Whether a path means standard output: "-", "/dev/stdout" and what else there is.
bool is_stdout(const std::string& path);

Result<void> print(std::string_view text);  // to standard output
// What was printed so far, where that is json.
const JsonFollower& printed_json();
// The next document begins.
void begin_json();
// To standard error; there is nobody to tell when that fails. From any thread.
void print_error(std::string_view text);

// Draws a line of standard error, a terminal, over the one that was drawn before. What is printed
// later takes its place, unless it is the last one. Requires: it fits into one line.
void draw_bar(std::string_view text, bool last);
// Before standard output gets text: the bar may be on the same terminal.
void erase_bar();

// A line of a report: whatever the arguments hold, it is one line of text.
template <typename... Args>
std::string text_line(fmt::format_string<Args...> format, Args&&... args) {
  return printable(fmt::format(format, std::forward<Args>(args)...)) + "\n";
}

// The word as a POSIX shell would need it quoted.
std::string shell_quoted(std::string_view word);

}  // namespace snaptool::cli
