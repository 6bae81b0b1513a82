// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace snaptool::cli {

// Follows a json document as it is printed, so that one that an error cuts short can be ended.
class JsonFollower {
 public:
  // What was printed. Requires: each piece ends after a whole value, or after the '[' of an array.
  void add(std::string_view text);
  // A piece was printed in part: nothing can be said of the document any more.
  void lose() { lost_ = true; }

  bool is_empty() const { return !any_ && !lost_; }
  // What ends a document that is open, with `members` ("\"a\":1") added where it is an object.
  // Empty: it has its end.
  std::string ending(std::string_view members) const;

 private:
  std::string open_;  // brackets
  bool any_ = false;
  bool lost_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace snaptool::cli
