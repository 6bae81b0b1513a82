// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/config_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace snaptool::lvm2 {
namespace {

constexpr int kDeepest = 32;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_punctuation(char c) {
  return is_space(c) || c == '{' || c == '}' || c == '[' || c == ']' || c == '=' || c == ',' ||
         c == '#' || c == '"' || c == '\'' || c == '\0';
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Result<ConfigNode> parse() {
    ConfigNode root;
    root.is_section = true;
    SNAP_TRY(parse_items(root, 0));
    if (at_ < text_.size()) return wrong("'}' without '{'");
    return root;
  }

 private:
  Error wrong(std::string_view problem) const {
    const auto line = std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    return Error(ErrorCode::kCorruption, fmt::format("{}, line {}: {}", what_, line + 1, problem));
  }

  char here() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size()) {
      if (is_space(text_[at_])) {
        ++at_;
      } else if (text_[at_] == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        return;
      }
    }
  }

  Result<std::string> parse_quoted() {
    const char quote = text_[at_++];
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      // Only double quotes know escapes: of themselves and of the backslash.
      if (quote == '"' && text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      if (text_[at_] == '\0') break;
      value += text_[at_++];
    }
    if (here() != quote) return wrong("a string does not end");
    ++at_;
    return value;
  }

  Result<std::string> parse_word() {
    if (here() == '"' || here() == '\'') return parse_quoted();
    const size_t start = at_;
    while (at_ < text_.size() && !is_punctuation(text_[at_])) ++at_;
    if (at_ == start) {
      return wrong(at_ < text_.size() ? "an unexpected character" : "it ends too early");
    }
    return std::string(text_.substr(start, at_ - start));
  }

  Result<ConfigValue> parse_value() {
    const bool quoted = here() == '"' || here() == '\'';
    SNAP_ASSIGN(std::string word, parse_word());
    if (quoted) return ConfigValue(std::move(word));
    int64_t number = 0;
    const char* const end = word.data() + word.size();
    const auto [stop, ec] = std::from_chars(word.data(), end, number);
    if (stop == end && ec == std::errc()) return ConfigValue(number);
    if (stop == end && ec == std::errc::result_out_of_range) return wrong("a number is too large");
    return ConfigValue(std::move(word));
  }

  Result<void> parse_list(ConfigNode& node) {
    node.is_list = true;
    ++at_;
    for (skip_space(); here() != ']'; skip_space()) {
      SNAP_ASSIGN(ConfigValue value, parse_value());
      node.values.push_back(std::move(value));
      skip_space();
      if (here() == ',') {
        ++at_;
      } else if (here() != ']') {
        return wrong("a list wants ',' or ']'");
      }
    }
    ++at_;
    return {};
  }

  // Items up to the end, or to a '}', which is left.
  Result<void> parse_items(ConfigNode& section, int depth) {
    if (depth > kDeepest) return wrong("sections are nested too deeply");
    for (skip_space(); at_ < text_.size() && here() != '}'; skip_space()) {
      ConfigNode node;
      SNAP_ASSIGN(node.key, parse_word());
      skip_space();
      if (here() == '{') {
        ++at_;
        node.is_section = true;
        SNAP_TRY(parse_items(node, depth + 1));
        if (here() != '}') return wrong(fmt::format("section '{}' does not end", node.key));
        ++at_;
      } else if (here() == '=') {
        ++at_;
        skip_space();
        if (here() == '[') {
          SNAP_TRY(parse_list(node));
        } else {
          SNAP_ASSIGN(ConfigValue value, parse_value());
          node.values.push_back(std::move(value));
        }
      } else {
        return wrong(fmt::format("'{}' is neither a section nor a value", node.key));
      }
      section.children.push_back(std::move(node));
    }
    return {};
  }

  std::string_view text_;
  const std::string& what_;
  size_t at_ = 0;
};

Error missing(const ConfigNode& section, std::string_view name, std::string_view kind) {
  return Error(ErrorCode::kCorruption,
               fmt::format("section '{}' has no {} '{}'", section.key, kind, name));
}

}  // namespace

const ConfigNode* ConfigNode::find(std::string_view name) const {
  const auto child = std::find_if(children.begin(), children.end(),
                                  [&](const ConfigNode& node) { return node.key == name; });
  return child == children.end() ? nullptr : &*child;
}

const ConfigNode* ConfigNode::find_section(std::string_view name) const {
  const ConfigNode* const child = find(name);
  return child != nullptr && child->is_section ? child : nullptr;
}

Result<uint64_t> ConfigNode::number(std::string_view name) const {
  const ConfigNode* const node = find(name);
  if (node == nullptr || node->values.size() != 1) return missing(*this, name, "number");
  const auto* const value = std::get_if<int64_t>(&node->values.front());
  if (value == nullptr || *value < 0) return missing(*this, name, "number");
  return static_cast<uint64_t>(*value);
}

Result<std::string> ConfigNode::string(std::string_view name) const {
  const ConfigNode* const node = find(name);
  if (node == nullptr || node->values.size() != 1) return missing(*this, name, "string");
  const auto* const value = std::get_if<std::string>(&node->values.front());
  if (value == nullptr) return missing(*this, name, "string");
  return *value;
}

Result<ConfigNode> parse_config(std::string_view text, const std::string& what) {
  while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  return Parser(text, what).parse();
}

}  // namespace snaptool::lvm2
