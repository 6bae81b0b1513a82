// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <optional>

#include "libsnap/base/arithmetic.h"

namespace snaptool {

namespace {

constexpr std::string_view kUnits =
    "k, M, G, T, P, E (powers of 1024, as KiB, MiB, ...), kB, MB, GB, ... (powers of 1000) or s "
    "(sectors of 512 bytes)";

// The bytes of a unit: dd's and truncate's, and the kernel's sectors.
std::optional<uint64_t> unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "B") return 1;
  if (unit == "s") return kSectorSize;
  constexpr std::string_view kLetters = "KMGTPE";
  const char letter = unit[0] >= 'a' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
  const size_t power = kLetters.find(letter);
  const std::string_view rest = unit.substr(1);
  if (power == std::string_view::npos || (!rest.empty() && rest != "iB" && rest != "B")) {
    return std::nullopt;
  }
  uint64_t bytes = 1;
  for (size_t i = 0; i <= power; ++i) bytes *= rest == "B" ? 1000 : kKiB;
  return bytes;
}

// What the digits after a point add, in bytes; nothing where that is no whole number.
std::optional<uint64_t> fraction_of(std::string_view digits, uint64_t unit) {
  constexpr size_t kMostDigits = 18;
  digits = digits.substr(0, digits.find_last_not_of('0') + 1);
  if (digits.size() > kMostDigits) return std::nullopt;
  uint64_t tenths = 0;
  uint64_t whole = 1;
  for (const char digit : digits) {
    tenths = tenths * 10 + static_cast<uint64_t>(digit - '0');
    whole *= 10;
  }
  const uint64_t common = std::gcd(tenths, whole);
  if (unit % (whole / common) != 0) return std::nullopt;
  return tenths / common * (unit / (whole / common));
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("size '{}' {}", text, why));
  };
  const bool hex = text.substr(0, 2) == "0x" || text.substr(0, 2) == "0X";
  std::string_view rest = text.substr(hex ? 2 : 0);
  uint64_t number = 0;
  const auto [end, ec] =
      std::from_chars(rest.data(), rest.data() + rest.size(), number, hex ? 16 : 10);
  if (ec == std::errc::result_out_of_range) return bad("is too large");
  if (ec != std::errc() || end == rest.data()) {
    return bad(fmt::format("is not a number with an optional unit: {}", kUnits));
  }
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  if (hex && !rest.empty()) return bad("has more than hexadecimal digits after 0x");
  std::string_view digits;
  if (rest.size() > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9') {
    digits = rest.substr(1, std::min(rest.find_first_not_of("0123456789", 1), rest.size()) - 1);
    rest.remove_prefix(1 + digits.size());
  }
  // As format_size() prints it.
  if (rest.size() > 1 && rest[0] == ' ') rest.remove_prefix(1);
  const auto unit = unit_bytes(rest);
  if (!unit) return bad(fmt::format("has an unknown unit; known are {}", kUnits));
  const auto fraction = fraction_of(digits, *unit);
  if (!fraction) return bad("is no whole number of bytes");
  const auto whole = checked_mul(number, *unit);
  const auto bytes = whole ? checked_add(*whole, *fraction) : std::nullopt;
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
