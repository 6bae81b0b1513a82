// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libsnap/base/result.h"

namespace snaptool::lvm2 {

// A number (LVM's own are at least 0) or a string. What has a decimal point is kept as a string.
using ConfigValue = std::variant<int64_t, std::string>;

class ConfigText;

// A place in a ConfigText, which must outlive it: a section with what is in it, or a key with its
// values.
class ConfigNode {
 public:
  class Children;

  std::string key() const;
  bool is_section() const;
  bool is_list() const;  // in brackets, even with one value or none
  // The values of a key, in their order, until one is answered with false.
  void each_value(const std::function<bool(ConfigValue)>& visit) const;
  Children children() const;  // of a section, in their order

  // The first child of that name.
  std::optional<ConfigNode> find(std::string_view name) const;
  std::optional<ConfigNode> find_section(std::string_view name) const;
  // The single value of a key of that name. Errors: kCorruption when it is missing or of another
  // kind; a number also when it is negative.
  Result<uint64_t> number(std::string_view name) const;
  Result<std::string> string(std::string_view name) const;

 private:
  friend class ConfigText;
  ConfigNode(const ConfigText& text, uint32_t index) : text_(&text), index_(index) {}

  std::optional<ConfigValue> single(std::string_view name) const;

  const ConfigText* text_;
  uint32_t index_;
};

// A parsed text of LVM2's format. Besides the text it takes 16 bytes for each section and key: they
// are read where they lie.
class ConfigText {
 public:
  // `what` names the text in errors. Errors: kCorruption with the line: bad grammar, nesting deeper
  // than 32, a NUL inside (the text may end with NULs), more than 4 GiB. Source: libdm's
  // configuration grammar, as lvm2 2.03 writes it.
  static Result<ConfigText> parse(std::string text, const std::string& what);

  ConfigNode root() const { return {*this, 0}; }  // a nameless section

 private:
  friend class ConfigNode;
  friend class ConfigNode::Children;
  friend class ConfigParser;

  struct Item {
    uint32_t key = 0;       // where it begins
    uint32_t key_size = 0;  // quotes and escapes included
    uint32_t value = 0;     // where the first value or the '[' is; 0: this is a section
    uint32_t end = 0;       // the index of the next item that is not within this one
  };

  std::string text_;
  std::vector<Item> items_;  // each before those within it; first the root
};

class ConfigNode::Children {
 public:
  class Iterator {
   public:
    Iterator(const ConfigText& text, uint32_t index) : text_(&text), index_(index) {}
    ConfigNode operator*() const { return {*text_, index_}; }
    Iterator& operator++() {
      index_ = text_->items_[index_].end;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const ConfigText* text_;
    uint32_t index_;
  };

  Children(const ConfigText& text, uint32_t index) : text_(&text), index_(index) {}
  Iterator begin() const { return {*text_, index_ + 1}; }
  Iterator end() const { return {*text_, text_->items_[index_].end}; }

 private:
  const ConfigText* text_;
  uint32_t index_;
};

}  // namespace snaptool::lvm2
