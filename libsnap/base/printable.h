// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace snaptool {

// Whether all of it is well-formed (Unicode, table 3-7).
bool is_utf8(std::string_view text);
// Text from outside (of an image, a file name, a diff), fit for one line of a terminal, a report or
// a message. Control characters, what is no well-formed UTF-8 (Unicode, table 3-7), noncharacters,
// line and paragraph separators and bidirectional controls become \xNN, byte by byte.
std::string printable(std::string_view text);
// The same of the name of a file, so that no two names look alike: a backslash becomes \x5c. Bash
// reads it as $'NAME', unless there is a quote in it.
std::string printable_name(std::string_view name);
// The same of text of several lines: tabs and newlines stay.
std::string printable_lines(std::string_view text);
// For a message: at most so many bytes of it, printable, and "..." where there was more. Of a
// file's name, kMostOfName.
inline constexpr size_t kMostOfName = 400;
std::string excerpt(std::string_view text, size_t most = 100);
// The same of several: "a, b, c, ..." of about 200 bytes; "none".
std::string excerpt_list(const std::vector<std::string_view>& texts);

}  // namespace snaptool
