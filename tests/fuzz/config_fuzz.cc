// SPDX-License-Identifier: Apache-2.0
// Any bytes as a text of LVM2's format: nothing crashes, the whole tree can be walked, it has no
// more in it than the text, and printed again it reads the same.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "formats/lvm2/config_text.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_target.h"

namespace snaptool::test {
namespace {

using lvm2::ConfigNode;
using lvm2::ConfigText;
using lvm2::ConfigValue;

constexpr int kDeepest = 32;
constexpr size_t kLookedUp = 16;  // children of each section: find() goes through them all

void require(bool condition) {
  if (!condition) std::abort();
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

std::vector<ConfigValue> values_of(const ConfigNode& node, size_t most = SIZE_MAX) {
  std::vector<ConfigValue> values;
  node.each_value([&](ConfigValue value) {
    values.push_back(std::move(value));
    return values.size() < most;
  });
  return values;
}

// Prints a tree, and counts what is in it.
class Printer {
 public:
  void print_section(const ConfigNode& section, int depth) {
    require(depth <= kDeepest);
    for (const ConfigNode child : section.children()) {
      const std::string key = child.key();
      ++items_;
      bytes_ += key.size();
      text_ += quoted(key);
      if (child.is_section()) {
        require(!child.is_list() && values_of(child).empty());
        text_ += "{\n";
        print_section(child, depth + 1);
        text_ += "}\n";
      } else {
        print_values(child);
      }
    }
  }
  const std::string& text() const { return text_; }
  // In all keys and values; of a number, the least it takes.
  size_t bytes() const { return bytes_; }
  size_t items() const { return items_; }

 private:
  void print_values(const ConfigNode& node) {
    const auto values = values_of(node);
    require(node.is_list() || values.size() == 1);
    const auto children = node.children();
    require(!(children.begin() != children.end()));
    text_ += node.is_list() ? "=[" : "=";
    for (const ConfigValue& value : values) {
      if (const auto* const word = std::get_if<std::string>(&value)) {
        bytes_ += word->size();
        text_ += quoted(*word);
      } else {
        bytes_ += 1;
        text_ += fmt::to_string(std::get<int64_t>(value));
      }
      text_ += node.is_list() ? "," : "";
    }
    text_ += node.is_list() ? "]\n" : "\n";
  }

  std::string text_;
  size_t bytes_ = 0;
  size_t items_ = 0;
};

// What is found by its name is what is there, and is given as what it is only.
void check_child(const ConfigNode& section, const ConfigNode& child) {
  const std::string key = child.key();
  const auto found = section.find(key);
  require(found && found->key() == key);
  require(found->is_section() == child.is_section() && found->is_list() == child.is_list());
  require(section.find_section(key).has_value() == child.is_section());
  const auto values = values_of(child, 2);
  require(values == values_of(*found, 2));
  const bool single = values.size() == 1;
  const auto* const number = single ? std::get_if<int64_t>(&values.front()) : nullptr;
  const auto* const word = single ? std::get_if<std::string>(&values.front()) : nullptr;
  const auto as_number = section.number(key);
  const auto as_string = section.string(key);
  require(as_number.has_value() == (number != nullptr && *number >= 0));
  require(as_string.has_value() == (word != nullptr));
  require(!as_number || *as_number == static_cast<uint64_t>(*number));
  require(!as_string || *as_string == *word);
}

void check_lookups(const ConfigNode& section) {
  std::set<std::string> seen;
  size_t count = 0;
  for (const ConfigNode child : section.children()) {
    const bool first = ++count <= kLookedUp && seen.insert(child.key()).second;
    if (first) check_child(section, child);
    if (child.is_section()) check_lookups(child);
  }
}

void try_text(const std::string& bytes) {
  const auto config = ConfigText::parse(bytes, "text");
  if (!config) {
    require(config.error().code() == ErrorCode::kCorruption);
    return;
  }
  const std::string_view text(bytes.data(), bytes.find_last_not_of('\0') + 1);
  require(text.find('\0') == std::string_view::npos);
  require(config->root().is_section() && config->root().key().empty());
  Printer printer;
  printer.print_section(config->root(), 0);
  require(printer.bytes() <= text.size() && printer.items() <= text.size());
  check_lookups(config->root());
  const auto again = ConfigText::parse(printer.text(), "printed");
  require(again.has_value());
  Printer second;
  second.print_section(again->root(), 0);
  require(second.text() == printer.text());
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(config)(const uint8_t* data, size_t size) {
  if (size > snaptool::kMiB) return 0;
  snaptool::test::try_text(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
