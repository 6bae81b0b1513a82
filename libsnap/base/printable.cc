// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace snaptool {
namespace {

unsigned char byte_at(std::string_view text, size_t i) {
  return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
}

// How many bytes the well-formed character at the beginning has; 0 if there is none. Unicode, table
// 3-7: what differs between the rows is the second byte.
size_t utf8_length(std::string_view text) {
  const unsigned char first = byte_at(text, 0);
  const unsigned char second = byte_at(text, 1);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte_at(text, i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

uint32_t code_point(std::string_view character) {
  if (character.size() == 1) return byte_at(character, 0);
  uint32_t code = byte_at(character, 0) & (0xffU >> (character.size() + 1));
  for (size_t i = 1; i < character.size(); ++i) code = code << 6 | (byte_at(character, i) & 0x3fU);
  return code;
}

bool is_between(uint32_t code, uint32_t first, uint32_t last) {
  return first <= code && code <= last;
}

bool is_harmless(uint32_t code) {
  const bool control = code < 0x20 || is_between(code, 0x7f, 0x9f);
  const bool separator = is_between(code, 0x2028, 0x2029);
  const bool bidirectional = code == 0x61c || is_between(code, 0x200e, 0x200f) ||
                             is_between(code, 0x202a, 0x202e) || is_between(code, 0x2066, 0x2069);
  const bool no_character = is_between(code, 0xfdd0, 0xfdef) || (code & 0xfffe) == 0xfffe;
  const bool invisible = code == 0xfeff || is_between(code, 0xfff9, 0xfffb);
  return !control && !separator && !bidirectional && !no_character && !invisible;
}

// `kept`: characters that stay; `not_kept`: such that do not, besides those that never do.
std::string escaped(std::string_view text, std::string_view kept, std::string_view not_kept = "") {
  const auto has = [](std::string_view set, char c) { return set.find(c) != set.npos; };
  const auto is_plain = [&](char c) {
    return ((c >= 0x20 && c < 0x7f) || has(kept, c)) && !has(not_kept, c);
  };
  if (std::all_of(text.begin(), text.end(), is_plain)) return std::string(text);
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const bool keeps = length > 0 && !has(not_kept, text.front()) &&
                       (has(kept, text.front()) || is_harmless(code_point(text.substr(0, length))));
    const std::string_view head = text.substr(0, std::max<size_t>(length, 1));
    if (keeps) {
      out += head;
    } else {
      for (const char c : head) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    text.remove_prefix(head.size());
  }
  return out;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text) { return escaped(text, ""); }
std::string printable_name(std::string_view name) { return escaped(name, "", "\\"); }
std::string printable_lines(std::string_view text) { return escaped(text, "\n\t"); }

std::string excerpt(std::string_view text, size_t most) {
  if (text.size() <= most) return printable(text);
  size_t end = most;
  while (end > 0 && (byte_at(text, end) & 0xc0) == 0x80) --end;  // no half character
  if (end == 0) end = most;
  return printable(text.substr(0, end)) + "...";
}

std::string excerpt_list(const std::vector<std::string_view>& texts) {
  constexpr size_t kMost = 200;
  std::string list;
  for (const std::string_view text : texts) {
    if (list.size() > kMost) return list + ", ...";
    list += (list.empty() ? "" : ", ") + excerpt(text);
  }
  return list.empty() ? "none" : list;
}

}  // namespace snaptool
