// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::lvm2 {

// A number (LVM's own are at least 0) or a string. What has a decimal point is kept as a string.
using ConfigValue = std::variant<int64_t, std::string>;

// One line of LVM2's text format: a section with what is in it, or a key with its values.
struct ConfigNode {
  std::string key;
  bool is_section = false;
  bool is_list = false;              // in brackets, even with one value or none
  std::vector<ConfigValue> values;   // of a key
  std::vector<ConfigNode> children;  // of a section, in their order

  // The first child of that name; nullptr if there is none.
  const ConfigNode* find(std::string_view name) const;
  const ConfigNode* find_section(std::string_view name) const;
  // The single value of a key of that name. Errors: kCorruption when it is missing or of another
  // kind; a number also when it is negative.
  Result<uint64_t> number(std::string_view name) const;
  Result<std::string> string(std::string_view name) const;
};

// Parses a whole text into a nameless section. `what` names it in errors.
// Errors: kCorruption with the line: bad grammar, nesting deeper than 32, a NUL inside; the text
// may end with NULs. Source: libdm's configuration grammar, as lvm2 2.03 writes it.
Result<ConfigNode> parse_config(std::string_view text, const std::string& what);

}  // namespace snaptool::lvm2
