// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "libsnap/base/arithmetic.h"

namespace snaptool {

Result<uint64_t> parse_size(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("size '{}' {}", text, why));
  };
  uint64_t number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec == std::errc::result_out_of_range) return bad("is too large");
  if (ec != std::errc() || end == text.data()) {
    return bad("is not a number with an optional unit: k, M, G, T (powers of 1024) or s (sectors)");
  }
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  uint64_t factor = 1;
  if (!unit.empty() && unit != "B") {
    static constexpr std::string_view kLetters = "KMGTPE";
    const char letter = unit[0] >= 'a' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
    const size_t power = kLetters.find(letter);
    if (unit == "s") {
      factor = kSectorSize;
    } else if (power != std::string_view::npos && (unit.size() == 1 || unit.substr(1) == "iB")) {
      factor = uint64_t{1} << (10 * (power + 1));
    } else {
      return bad(
          "has an unknown unit; known are k, M, G, T, P, E (powers of 1024) and s (sectors)");
    }
  }
  const auto bytes = checked_mul(number, factor);
  if (!bytes || *bytes > kMaxFileSize) return bad("is too large");
  return *bytes;
}

std::string format_size(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kNames = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, kNames[unit]);
}

}  // namespace snaptool
