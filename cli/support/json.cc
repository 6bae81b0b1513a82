// SPDX-License-Identifier: Apache-2.0
#include "cli/support/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "libsnap/base/check.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {

struct Json::Node {
  using Library = nlohmann::ordered_json;

  Library scalar;                                     // of an array or an object: an empty one
  std::vector<std::pair<std::string, Json>> members;  // of an array: without keys

  Library whole() const {
    Library json = scalar;
    for (const auto& [key, value] : members) {
      if (json.is_array()) {
        json.push_back(value.node_->whole());
      } else {
        json[key] = value.node_->whole();
        if (value.node_->lacks_bytes()) json[key + "_hex"] = value.node_->hex();
      }
    }
    return json;
  }

  // Whether json cannot have this text, or one of these, byte by byte.
  bool lacks_bytes() const {
    if (scalar.is_string()) return !is_utf8(scalar.get_ref<const std::string&>());
    return scalar.is_array() && std::any_of(members.begin(), members.end(), [](const auto& member) {
             return member.second.node_->lacks_bytes();
           });
  }

  // Of a text its bytes; of an array an array, with null for what is no text.
  Library hex() const {
    if (scalar.is_string()) {
      return hex_of(std::as_bytes(std::span(scalar.get_ref<const std::string&>())));
    }
    if (!scalar.is_array()) return nullptr;
    Library json = Library::array();
    for (const auto& [key, value] : members) json.push_back(value.node_->hex());
    return json;
  }

  std::string dump(int indent) const {
    return whole().dump(indent, ' ', true, Library::error_handler_t::replace);
  }
};

Json::Json() : node_(std::make_unique<Node>()) {}
Json::Json(double value) : Json() { node_->scalar = value; }
Json::Json(std::string_view text) : Json() { node_->scalar = text; }
Json::Json(const std::string& text) : Json(std::string_view(text)) {}
Json::Json(const char* text) : Json(std::string_view(text)) {}

Json::Json(std::initializer_list<Json> values) : Json() {
  const auto is_member = [](const Json& value) {
    return value.node_->scalar.is_array() && value.node_->members.size() == 2 &&
           value.node_->members.front().second.node_->scalar.is_string();
  };
  if (std::all_of(values.begin(), values.end(), is_member)) {
    *this = object();
    for (const Json& value : values) {
      const auto& pair = value.node_->members;
      (*this)[pair.front().second.string()] = pair.back().second;
    }
  } else {
    *this = array();
    for (const Json& value : values) push_back(value);
  }
}

Json Json::array() {
  Json json;
  json.node_->scalar = Node::Library::array();
  return json;
}

Json Json::object() {
  Json json;
  json.node_->scalar = Node::Library::object();
  return json;
}

Json::Json(const Json& other) : node_(std::make_unique<Node>(*other.node_)) {}
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) { return *this = Json(other); }
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;

Json& Json::operator[](std::string_view key) {
  if (node_->scalar.is_null()) *this = object();
  auto& members = node_->members;
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const auto& member) { return member.first == key; });
  if (found != members.end()) return found->second;
  return members.emplace_back(key, Json()).second;
}

void Json::push_back(Json value) {
  SNAP_CHECK(node_->scalar.is_array());
  node_->members.emplace_back(std::string(), std::move(value));
}

void Json::update(const Json& members) {
  for (const auto& [key, value] : members.node_->members) (*this)[key] = value;
}

bool Json::contains(std::string_view key) const {
  return std::any_of(node_->members.begin(), node_->members.end(),
                     [&](const auto& member) { return member.first == key; });
}

const Json& Json::at(std::string_view key) const {
  const auto& members = node_->members;
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const auto& member) { return member.first == key; });
  SNAP_CHECK(found != members.end());
  return found->second;
}

bool Json::is_true() const { return node_->scalar.get<bool>(); }
uint64_t Json::number() const { return node_->scalar.get<uint64_t>(); }
std::string Json::string() const { return node_->scalar.get<std::string>(); }

std::string Json::line() const { return node_->dump(-1); }
std::string Json::text() const { return node_->dump(2) + "\n"; }

void Json::set_bool(bool value) { node_->scalar = value; }
void Json::set_signed(int64_t value) { node_->scalar = value; }
void Json::set_unsigned(uint64_t value) { node_->scalar = value; }

}  // namespace snaptool::cli
