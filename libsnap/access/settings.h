// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/context.h"

namespace snaptool::access {

// How an image is opened, by names: for programs that take it as text. The names are those of the
// command line's options.
class Settings {
 public:
  struct Row {
    std::string_view name;
    std::string_view help;  // a phrase
  };
  // All that there are, in the order of their names.
  static std::vector<Row> rows();
  static bool has(std::string_view name);

  // A flag is "true" or "false" (also yes and no, on and off, 1 and 0); "parent" adds one. Errors:
  // kInvalidArgument.
  Result<void> set(std::string_view name, const std::string& value);

  const Policy& policy() const { return policy_; }
  const std::optional<std::string>& format() const { return format_; }

 private:
  Policy policy_;
  std::optional<std::string> format_;
};

// A flag as text. Errors: kInvalidArgument, with the name.
Result<bool> parse_flag(std::string_view name, std::string_view value);

}  // namespace snaptool::access
