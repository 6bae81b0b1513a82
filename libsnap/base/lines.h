// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <istream>
#include <string>

namespace snaptool {

// Reads a line, without its newline; false when there is none, or in.bad(). Of a line that is
// longer than `most` bytes, no more than most + 1 are read.
inline bool read_line(std::istream& in, std::string& line, size_t most) {
  line.clear();
  for (char c = 0; line.size() <= most && in.get(c);) {
    if (c == '\n') return true;
    line += c;
  }
  return !line.empty() && !in.bad();
}

}  // namespace snaptool
