// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/config_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "libsnap/base/printable.h"

namespace snaptool::lvm2 {
namespace {

constexpr int kDeepest = 32;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_punctuation(char c) {
  return is_space(c) || c == '{' || c == '}' || c == '[' || c == ']' || c == '=' || c == ',' ||
         c == '#' || c == '"' || c == '\'' || c == '\0';
}

// Reads words and values; what is wrong is said as an empty word and problem().
class Scanner {
 public:
  explicit Scanner(std::string_view text, size_t at = 0) : text_(text), at_(at) {}

  size_t at() const { return at_; }
  bool ended() const { return at_ >= text_.size(); }
  char here() const { return ended() ? '\0' : text_[at_]; }
  void skip_character() { ++at_; }
  std::string_view problem() const { return problem_; }

  void skip_space() {
    while (!ended()) {
      if (is_space(text_[at_])) {
        ++at_;
      } else if (text_[at_] == '#') {
        at_ = std::min(text_.find_first_of(std::string_view("\n\0", 2), at_), text_.size());
      } else {
        return;
      }
    }
  }

  // False where there is no word, or it does not end.
  bool skip_word() {
    if (here() == '"' || here() == '\'') return skip_quoted();
    const size_t start = at_;
    while (!ended() && !is_punctuation(text_[at_])) ++at_;
    if (at_ > start) return true;
    return fail(ended() ? "it ends too early" : "an unexpected character");
  }

  // A word, or false.
  bool skip_value() {
    const size_t start = at_;
    if (!skip_word()) return false;
    int64_t number = 0;
    const char* const end = text_.data() + at_;
    const auto [stop, ec] = std::from_chars(text_.data() + start, end, number);
    const bool too_large = stop == end && ec == std::errc::result_out_of_range;
    return !too_large || fail("a number is too large");
  }

  bool fail(std::string_view problem) {
    problem_ = problem;
    return false;
  }

 private:
  bool skip_quoted() {
    const char quote = text_[at_++];
    while (!ended() && text_[at_] != quote && text_[at_] != '\0') {
      // Only double quotes know escapes: of themselves and of the backslash.
      if (quote == '"' && text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      if (text_[at_] == '\0') break;
      ++at_;
    }
    if (here() != quote) return fail("a string does not end");
    ++at_;
    return true;
  }

  std::string_view text_;
  size_t at_;
  std::string_view problem_;
};

// What a word means: without its quotes and escapes.
std::string meaning_of(std::string_view word) {
  const char quote = word.empty() ? '\0' : word.front();
  if (quote != '"' && quote != '\'') return std::string(word);
  word = word.substr(1, word.size() - 2);
  if (quote == '\'') return std::string(word);
  std::string meaning;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '\\' && i + 1 < word.size()) ++i;
    meaning += word[i];
  }
  return meaning;
}

ConfigValue value_of(std::string_view word) {
  int64_t number = 0;
  const auto [stop, ec] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (stop == word.data() + word.size() && ec == std::errc()) return number;
  return meaning_of(word);
}

Error missing(const ConfigNode& section, std::string_view name, std::string_view kind) {
  return Error(ErrorCode::kCorruption,
               fmt::format("section '{}' has no {} '{}'", excerpt(section.key()), kind, name));
}

}  // namespace

class ConfigParser {
 public:
  ConfigParser(ConfigText& config, const std::string& what)
      : config_(config), what_(what), scanner_(config.text_) {}

  Result<void> parse() {
    config_.items_.emplace_back();
    SNAP_TRY(parse_items(0));
    if (!scanner_.ended()) return wrong("'}' without '{'");
    config_.items_.front().end = static_cast<uint32_t>(config_.items_.size());
    config_.items_.shrink_to_fit();
    return {};
  }

 private:
  Error wrong(std::string_view problem) const {
    const auto line = std::count(
        config_.text_.begin(), config_.text_.begin() + static_cast<ptrdiff_t>(scanner_.at()), '\n');
    return Error(ErrorCode::kCorruption, fmt::format("{}, line {}: {}", what_, line + 1, problem));
  }
  Error wrong() const { return wrong(scanner_.problem()); }
  std::string key_of(uint32_t index) const {
    const auto& item = config_.items_[index];
    return excerpt(meaning_of(std::string_view(config_.text_).substr(item.key, item.key_size)));
  }

  Result<void> parse_list() {
    scanner_.skip_character();
    for (scanner_.skip_space(); scanner_.here() != ']'; scanner_.skip_space()) {
      if (!scanner_.skip_value()) return wrong();
      scanner_.skip_space();
      if (scanner_.here() == ',') {
        scanner_.skip_character();
      } else if (scanner_.here() != ']') {
        return wrong("a list wants ',' or ']'");
      }
    }
    scanner_.skip_character();
    return {};
  }

  // What follows a key.
  Result<void> parse_item(uint32_t index, int depth) {
    if (scanner_.here() == '{') {
      scanner_.skip_character();
      SNAP_TRY(parse_items(depth + 1));
      if (scanner_.here() != '}') {
        return wrong(fmt::format("section '{}' does not end", key_of(index)));
      }
      scanner_.skip_character();
      return {};
    }
    if (scanner_.here() != '=') {
      return wrong(fmt::format("'{}' is neither a section nor a value", key_of(index)));
    }
    scanner_.skip_character();
    scanner_.skip_space();
    config_.items_[index].value = static_cast<uint32_t>(scanner_.at());
    if (scanner_.here() == '[') return parse_list();
    if (!scanner_.skip_value()) return wrong();
    return {};
  }

  // Items up to the end, or to a '}', which is left.
  Result<void> parse_items(int depth) {
    if (depth > kDeepest) return wrong("sections are nested too deeply");
    for (scanner_.skip_space(); !scanner_.ended() && scanner_.here() != '}';
         scanner_.skip_space()) {
      const auto index = static_cast<uint32_t>(config_.items_.size());
      const size_t start = scanner_.at();
      if (!scanner_.skip_word()) return wrong();
      config_.items_.push_back(
          {static_cast<uint32_t>(start), static_cast<uint32_t>(scanner_.at() - start), 0, 0});
      scanner_.skip_space();
      SNAP_TRY(parse_item(index, depth));
      config_.items_[index].end = static_cast<uint32_t>(config_.items_.size());
    }
    return {};
  }

  ConfigText& config_;
  const std::string& what_;
  Scanner scanner_;
};

Result<ConfigText> ConfigText::parse(std::string text, const std::string& what) {
  text.resize(text.find_last_not_of('\0') + 1);
  if (text.size() > UINT32_MAX) return Error(ErrorCode::kCorruption, what + " is too long");
  ConfigText config;
  config.text_ = std::move(text);
  SNAP_TRY(ConfigParser(config, what).parse());
  return config;
}

std::string ConfigNode::key() const {
  const auto& item = text_->items_[index_];
  return meaning_of(std::string_view(text_->text_).substr(item.key, item.key_size));
}

bool ConfigNode::is_section() const { return text_->items_[index_].value == 0; }

bool ConfigNode::is_list() const {
  return !is_section() && text_->text_[text_->items_[index_].value] == '[';
}

ConfigNode::Children ConfigNode::children() const { return {*text_, index_}; }

void ConfigNode::each_value(const std::function<bool(ConfigValue)>& visit) const {
  if (is_section()) return;
  const std::string_view text = text_->text_;
  Scanner scanner(text, text_->items_[index_].value);
  const bool list = is_list();
  if (list) scanner.skip_character();
  for (scanner.skip_space(); !list || scanner.here() != ']'; scanner.skip_space()) {
    const size_t start = scanner.at();
    scanner.skip_word();
    if (!visit(value_of(text.substr(start, scanner.at() - start))) || !list) return;
    scanner.skip_space();
    if (scanner.here() == ',') scanner.skip_character();
  }
}

std::optional<ConfigNode> ConfigNode::find(std::string_view name) const {
  for (const ConfigNode child : children()) {
    if (child.key() == name) return child;
  }
  return std::nullopt;
}

std::optional<ConfigNode> ConfigNode::find_section(std::string_view name) const {
  const auto child = find(name);
  return child && child->is_section() ? child : std::nullopt;
}

std::optional<ConfigValue> ConfigNode::single(std::string_view name) const {
  const auto node = find(name);
  std::optional<ConfigValue> only;
  if (!node) return only;
  size_t count = 0;
  node->each_value([&](ConfigValue value) {
    only = std::move(value);
    return ++count < 2;
  });
  return count == 1 ? only : std::nullopt;
}

Result<uint64_t> ConfigNode::number(std::string_view name) const {
  const auto value = single(name);
  const auto* const number = value ? std::get_if<int64_t>(&*value) : nullptr;
  if (number == nullptr || *number < 0) return missing(*this, name, "number");
  return static_cast<uint64_t>(*number);
}

Result<std::string> ConfigNode::string(std::string_view name) const {
  auto value = single(name);
  auto* const text = value ? std::get_if<std::string>(&*value) : nullptr;
  if (text == nullptr) return missing(*this, name, "string");
  return std::move(*text);
}

}  // namespace snaptool::lvm2
