// SPDX-License-Identifier: Apache-2.0
#include "cli/support/json_follower.h"

namespace snaptool::cli {

void JsonFollower::add(std::string_view text) {
  any_ = any_ || !text.empty();
  for (const char c : text) {
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      open_ += c;
    } else if ((c == '}' || c == ']') && !open_.empty()) {
      open_.pop_back();
    }
  }
}

std::string JsonFollower::ending(std::string_view members) const {
  if (lost_ || open_.empty()) return {};
  std::string text;
  for (size_t depth = open_.size(); depth-- > 0;) {
    if (depth == 0 && open_[0] == '{') {
      text += ",\n";
      text += members;
    }
    text += open_[depth] == '{' ? '}' : ']';
  }
  return text + "\n";
}

}  // namespace snaptool::cli
