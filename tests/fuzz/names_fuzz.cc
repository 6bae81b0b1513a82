// SPDX-License-Identifier: Apache-2.0
// Any bytes as names of images, as sizes, and as text from outside: names are printed as they were
// given, sizes are read as they were written, and text is fit for a terminal.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "libsnap/access/spec.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_target.h"

namespace snaptool::test {
namespace {

constexpr size_t kLongestName = 512;  // every separator in it makes the parser look for a file

void require(bool condition) {
  if (!condition) std::abort();
}

std::vector<std::string_view> split(std::string_view text, char separator, size_t most) {
  std::vector<std::string_view> parts;
  while (parts.size() < most) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

// --- names

void check_parts(const std::vector<access::Part>& parts) {
  using Kind = access::Part::Kind;
  for (const access::Part& part : parts) {
    const std::string& text = part.text;
    require(text.find_first_of("@#") == std::string::npos);
    if (part.kind == Kind::kPartition) {
      require(text.starts_with('p') && part.number > 0);
    } else if (part.kind == Kind::kSlice) {
      require(text.starts_with('+') && part.length.has_value() == (text.find(',') != text.npos));
      require(part.offset <= kMaxFileSize && part.length.value_or(0) <= kMaxFileSize);
    } else {
      require(text == part.group + "/" + part.volume && text.find('/') == text.rfind('/'));
      require(!part.group.empty() && !part.volume.empty());
    }
  }
}

// "/", "." and "/dev/null" are files that are always there.
void try_name(const std::string& text) {
  constexpr std::string_view kLiteral = "file:";
  static_cast<void>(access::check_output_name(text).has_value());
  const auto spec = access::parse_image_spec(text);
  if (!spec) return;
  const bool literal = text.starts_with(kLiteral);
  const std::string name = access::name_of(*spec);
  require(name == (literal ? text.substr(kLiteral.size()) : text));
  require(!literal || (spec->base.is_whole_file() && spec->stores.empty()));
  for (const auto& source : spec->base.sources) check_parts(source.parts);
  check_parts(spec->base.parts);
  check_parts(spec->view_parts);
  for (const access::FileSpec& store : spec->stores) {
    require(store.is_whole_file() && store.format == access::kStoreFormat);
  }
  const bool whole_view = spec->view_parts.empty();
  require(check_is_view(*spec).has_value() == (whole_view && !spec->stores.empty()));
  const auto pair = access::parse_origin_and_cow({text, "."});
  require(pair.has_value() == whole_view && (!pair || access::name_of(*pair) == name + "@."));
}

// --- sizes

// Three digits are shown: half of the last one is 0.5 percent.
void check_formatted(uint64_t bytes) {
  const std::string text = format_size(bytes);
  const size_t blank = text.find(' ');
  require(blank != std::string::npos);
  double value = std::stod(text.substr(0, blank));
  bool known = false;
  for (const char* const unit : {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}) {
    known = text.substr(blank + 1) == unit;
    if (known) break;
    value *= 1024;
  }
  const auto exact = static_cast<double>(bytes);
  require(known && std::abs(value - exact) <= 0.006 * exact);
}

void check_size(uint64_t number) {
  using Unit = std::pair<const char*, unsigned>;  // its name, and how far it shifts
  check_formatted(number);
  for (const auto& [unit, shift] :
       {Unit("", 0), Unit("B", 0), Unit("s", 9), Unit("k", 10), Unit("KiB", 10), Unit("M", 20),
        Unit("g", 30), Unit("TiB", 40), Unit("p", 50), Unit("PiB", 50), Unit("E", 60)}) {
    const uint64_t most = kMaxFileSize >> shift;
    for (const uint64_t value : {number, number >> shift, most, most + 1}) {
      const auto parsed = parse_size(fmt::format("{}{}", value, unit));
      require(parsed.has_value() == (value <= most));
      require(!parsed || *parsed == value << shift);
    }
  }
}

void try_size(std::string_view text) {
  uint64_t number = 0;
  if (!text.empty()) std::memcpy(&number, text.data(), std::min(text.size(), sizeof(number)));
  check_size(number);
  const auto bytes = parse_size(text);
  require(!bytes || (text[0] >= '0' && text[0] <= '9' && *bytes <= kMaxFileSize));
  require(!bytes || parse_size(fmt::to_string(*bytes)) == *bytes);
}

// --- text

struct Character {
  uint32_t code = 0;
  size_t size = 0;  // bytes; 0: it is ill-formed
};

Character character_at(std::string_view text) {
  const uint32_t first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1};
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc0 || first >= 0xf8 || text.size() < size) return {};
  uint32_t code = first & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    const uint32_t next = static_cast<unsigned char>(text[i]);
    if (next < 0x80 || next >= 0xc0) return {};
    code = code * 64 + next % 64;
  }
  const uint32_t least = size == 4 ? 0x10000 : size == 3 ? 0x800 : 0x80;
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < least || surrogate || code > 0x10ffff ? Character() : Character{code, size};
}

// What a terminal obeys, a reader does not see, or Unicode has no character for.
bool is_harmful(uint32_t code) {
  using Range = std::pair<uint32_t, uint32_t>;
  for (const auto& [first, last] :
       {Range(0, 0x1f), Range(0x7f, 0x9f), Range(0x61c, 0x61c), Range(0x200e, 0x200f),
        Range(0x2028, 0x202e), Range(0x2066, 0x2069), Range(0xfdd0, 0xfdef), Range(0xfeff, 0xfeff),
        Range(0xfff9, 0xfffb)}) {
    if (code >= first && code <= last) return true;
  }
  return code % 0x10000 >= 0xfffe;
}

std::string escaped(std::string_view text, std::string_view kept) {
  std::string result;
  while (!text.empty()) {
    const auto [code, size] = character_at(text);
    const bool keep = kept.find(text[0]) != text.npos || (size > 0 && !is_harmful(code));
    const std::string_view head = text.substr(0, std::max<size_t>(size, 1));
    for (const char c : head) {
      result += keep ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    text.remove_prefix(head.size());
  }
  return result;
}

// What printable_name made a line of.
std::string read_back(std::string_view line) {
  std::string name;
  while (!line.empty()) {
    const bool escape = line[0] == '\\';
    name += escape ? static_cast<char>(std::stoi(std::string(line.substr(2, 2)), nullptr, 16))
                   : line[0];
    line.remove_prefix(escape ? 4 : 1);
  }
  return name;
}

void try_text(std::string_view text) {
  require(read_back(printable_name(text)) == text);
  require(printable(printable_name(text)) == printable_name(text));
  const std::string line = printable(text);
  require(line == escaped(text, "") && printable(line) == line);
  require(printable_lines(text) == escaped(text, "\t\n"));
  const std::string start = excerpt(text);
  const bool sound = line.find("\\x") == std::string::npos;
  bool found = text.size() <= 100 && start == line;
  for (size_t end = sound ? 97 : 0; end <= 100 && text.size() > 100 && !found; ++end) {
    found = start == escaped(text.substr(0, end), "") + "...";
  }
  require(found);
  const std::string list = excerpt_list(split(text, ' ', 64));
  require(printable(list) == list && list.size() <= 700);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(names)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > snaptool::kMiB) return 0;
  // Byte 0: 0 names with a NUL between them, 1 sizes in the same way, 2 a text.
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 2) try_text(text);
  for (const std::string_view part : split(text.substr(0, 4096), '\0', 64)) {
    if (data[0] % 3 == 0) try_name(std::string(part.substr(0, kLongestName)));
    if (data[0] % 3 == 1) try_size(part);
  }
  return 0;
}
