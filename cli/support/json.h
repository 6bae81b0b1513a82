// SPDX-License-Identifier: Apache-2.0
// The json that the commands print. nlohmann's library is behind it in one .cc: its header costs
// every file that sees it seconds of compiling.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace snaptool::cli {

// A value: null, a scalar, an array, or an object whose members keep their order.
class Json {
 public:
  Json();                           // null
  Json(std::nullptr_t) : Json() {}  // NOLINT(google-explicit-constructor): as a literal
  template <std::integral T>
  Json(T value) : Json() {  // NOLINT(google-explicit-constructor)
    if constexpr (std::same_as<T, bool>) {
      set_bool(value);
    } else if constexpr (std::signed_integral<T>) {
      set_signed(value);
    } else {
      set_unsigned(value);
    }
  }
  Json(double value);             // NOLINT(google-explicit-constructor)
  Json(std::string_view text);    // NOLINT(google-explicit-constructor)
  Json(const std::string& text);  // NOLINT(google-explicit-constructor)
  Json(const char* text);         // NOLINT(google-explicit-constructor)
  template <typename T>
  Json(const std::vector<T>& values) : Json(array()) {  // NOLINT(google-explicit-constructor)
    for (const T& value : values) push_back(value);
  }
  Json(std::initializer_list<Json> values);  // an object if all are pairs {"key", value}
  static Json array();
  static Json object();

  // What was moved from can only be assigned to.
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();

  // The member `key` of an object; null becomes an object, and a member that is not there is added.
  Json& operator[](std::string_view key);
  void push_back(Json value);        // of an array
  void update(const Json& members);  // sets every member of another object

  // What is known to be there, and to be of that kind: else the program is wrong, and ends.
  bool contains(std::string_view key) const;
  const Json& at(std::string_view key) const;
  bool is_true() const;
  uint64_t number() const;
  std::string string() const;

  // ASCII: other characters are escaped as \uXXXX, and bytes that are no UTF-8 become U+FFFD. Of a
  // member KEY that has such bytes, KEY_hex follows with all of them; of an array of texts, with
  // those of each.
  std::string line() const;  // compact, without a newline
  std::string text() const;  // indented by two, with a newline

 private:
  struct Node;
  void set_bool(bool value);
  void set_signed(int64_t value);
  void set_unsigned(uint64_t value);

  std::unique_ptr<Node> node_;
};

}  // namespace snaptool::cli
