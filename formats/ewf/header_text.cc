// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/header_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <ctime>
#include <optional>
#include <string_view>

#include "formats/common/utf16.h"
#include "formats/ewf/layout.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::ewf {
namespace {

std::string utf8_of_latin1(std::span<const std::byte> text) {
  std::string out;
  for (const std::byte byte : text) {
    const auto c = std::to_integer<unsigned>(byte);
    if (c == 0) break;
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else {
      out += static_cast<char>(0xc0U | c >> 6U);
      out += static_cast<char>(0x80U | (c & 0x3fU));
    }
  }
  return out;
}

Result<std::string> utf8_of_header2(std::span<const std::byte> text) {
  if (text.size() < 2) return broken("its text is too short");
  const auto mark = load_le<uint16_t>(text.data());
  if (mark != 0xfeff && mark != 0xfffe) return broken("its text has no byte order mark");
  return utf8_of_utf16(text.subspan(2), mark == 0xfffe);
}

// The first lines of a text, without their ends.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  constexpr size_t kMostLines = 4;
  while (!text.empty() && lines.size() < kMostLines) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// What comes before the next tab; takes it away.
std::string_view next_cell(std::string_view& line) {
  const size_t end = std::min(line.find('\t'), line.size());
  const std::string_view cell = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return cell;
}

std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "2026 11 30 1 55 28", the clock of where it was acquired.
std::optional<std::string> time_of_words(std::string_view text) {
  std::array<uint64_t, 6> parts{};
  for (uint64_t& part : parts) {
    const size_t end = std::min(text.find(' '), text.size());
    const auto number = number_of(text.substr(0, end));
    if (!number || *number > 9999) return std::nullopt;
    part = *number;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (!text.empty()) return std::nullopt;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", parts[0], parts[1], parts[2], parts[3],
                     parts[4], parts[5]);
}

std::string value_of(const HeaderValues& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

// A row of cells with tabs between them.
std::string row(const std::vector<std::string>& cells) {
  return fmt::format("{}", fmt::join(cells, "\t"));
}

std::string time_in_words(const std::string& seconds) {
  const auto number = number_of(seconds);
  if (!number || *number > UINT32_MAX) return "";
  const std::tm time = fmt::gmtime(static_cast<std::time_t>(*number));
  return fmt::format("{} {} {} {} {} {}", time.tm_year + 1900, time.tm_mon + 1, time.tm_mday,
                     time.tm_hour, time.tm_min, time.tm_sec);
}

// The characters of UTF-8. Requires: it is well-formed.
std::vector<uint32_t> points_of(std::string_view text) {
  std::vector<uint32_t> points;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0U) != 0x80U) {
      points.push_back(byte < 0x80   ? byte
                       : byte < 0xe0 ? byte & 0x1fU
                       : byte < 0xf0 ? byte & 0x0fU
                                     : byte & 0x07U);
    } else {
      points.back() = points.back() << 6U | (byte & 0x3fU);
    }
  }
  return points;
}

}  // namespace

Result<HeaderValues> parse_header_text(std::span<const std::byte> text, bool utf16) {
  std::string decoded;
  if (utf16) {
    SNAP_ASSIGN(decoded, utf8_of_header2(text));
  } else {
    decoded = utf8_of_latin1(text);
  }
  const auto lines = lines_of(decoded);
  constexpr size_t kKeys = 2;
  if (lines.size() <= kKeys + 1 || lines[1] != "main") {
    return broken("its text is not as headers are");
  }
  constexpr size_t kMostValues = 64;
  HeaderValues values;
  std::string_view keys = lines[kKeys];
  std::string_view cells = lines[kKeys + 1];
  while (!keys.empty() && values.size() < kMostValues) {
    const std::string key(next_cell(keys));
    values.emplace(key, next_cell(cells));
  }
  return values;
}

std::string header_time(const std::string& value) {
  if (const auto seconds = number_of(value); seconds && *seconds <= UINT32_MAX) {
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(*seconds)));
  }
  return time_of_words(value).value_or(value);
}

bool can_be_header_value(const std::string& value) { return printable(value) == value; }

std::vector<std::byte> encode_header_text(const HeaderValues& values) {
  const std::vector<std::string> keys = {"c", "n", "a", "e", "t", "av", "ov", "m", "u", "p"};
  std::vector<std::string> cells;
  for (const std::string& key : keys) {
    const bool time = key == "m" || key == "u";
    const std::string value = value_of(values, key);
    cells.push_back(key == "p" ? "0" : time ? time_in_words(value) : value);
  }
  const std::string text = "1\r\nmain\r\n" + row(keys) + "\r\n" + row(cells) + "\r\n\r\n";
  std::vector<std::byte> bytes;
  for (const uint32_t point : points_of(text)) {
    bytes.push_back(static_cast<std::byte>(point < 0x100 ? point : '?'));
  }
  return bytes;
}

std::vector<std::byte> encode_header2_text(const HeaderValues& values) {
  const std::vector<std::string> keys = {"a",  "c",  "n", "e", "t", "md", "sn",
                                         "av", "ov", "m", "u", "p", "dc"};
  std::vector<std::string> cells;
  for (const std::string& key : keys) cells.push_back(key == "p" ? "0" : value_of(values, key));
  const std::string text =
      "3\nmain\n" + row(keys) + "\n" + row(cells) + "\n\n" +
      "srce\n0\t1\np\tn\tid\tev\ttb\tlo\tpo\tah\tgu\taq\n0\t0\n\t\t\t\t\t-1\t-1\t\t\t\n\n" +
      "sub\n0\t1\np\tn\tid\tnu\tco\tgu\n0\t0\n\t\t\t\t1\t\n\n";
  std::vector<std::byte> bytes;
  const auto put = [&](uint32_t unit) {
    bytes.push_back(static_cast<std::byte>(unit & 0xffU));
    bytes.push_back(static_cast<std::byte>(unit >> 8U));
  };
  put(0xfeff);
  for (const uint32_t point : points_of(text)) {
    if (point < 0x10000) {
      put(point);
    } else {
      put(0xd800U + ((point - 0x10000) >> 10U));
      put(0xdc00U + ((point - 0x10000) & 0x3ffU));
    }
  }
  return bytes;
}

}  // namespace snaptool::ewf
