// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "libsnap/base/error.h"
#include "tests/fuzz/fuzz_input.h"

namespace snaptool::test {

// How the parts of an image are named: a stem, and a counter of so many digits or letters.
struct Family {
  std::string stem;
  size_t width = 3;
  bool letters = false;

  size_t base() const { return letters ? 26 : 10; }
  size_t limit() const {  // how many names there are
    size_t count = 1;
    for (size_t i = 0; i < width; ++i) count *= base();
    return count;
  }
  std::string name(size_t number) const {
    std::string counter(width, letters ? 'a' : '0');
    for (size_t i = width; i-- > 0; number /= base()) {
      counter[i] = static_cast<char>(counter[i] + static_cast<char>(number % base()));
    }
    return stem + counter;
  }
  // Where counting may begin: 000, 001 or aa.
  bool is_first(size_t number) const {
    const bool dotted = stem.find('.') != std::string::npos;
    if (letters) return width >= 2 && number == 0;
    return dotted && width >= 3 && number <= 1;
  }
};

enum class Oddity { kNone, kLink, kFolder, kSecondName };

// What is in a folder, and the number that the image is said to begin with.
struct Parts {
  Family family;
  std::set<size_t> there;
  size_t first = 0;
  size_t odd = 0;  // the number of a part that is no file of its own
  Oddity oddity = Oddity::kNone;
};

struct Expected {
  std::optional<ErrorCode> error;
  size_t end = 0;  // the number behind the last part
};

inline Expected expect(const Parts& parts) {
  const auto& there = parts.there;
  if (!parts.family.is_first(parts.first)) return {ErrorCode::kInvalidArgument, 0};
  if (parts.first == 1 && there.count(0) > 0) return {ErrorCode::kInvalidArgument, 0};
  if (there.count(parts.first) == 0) return {ErrorCode::kNotFound, 0};
  size_t end = parts.first;
  for (; there.count(end) > 0; ++end) {
    const bool plain = parts.oddity == Oddity::kNone || parts.oddity == Oddity::kSecondName;
    if (end == parts.odd && !plain) return {ErrorCode::kInvalidArgument, 0};
  }
  if (there.upper_bound(end) != there.end()) return {ErrorCode::kCorruption, 0};
  return {std::nullopt, end};
}

inline Family take_family(FuzzInput& in) {
  constexpr std::array<std::string_view, 6> kStems{"disk.", "d.001.", "x", "a b_.", "0.", "z-"};
  Family family{std::string(kStems[in.byte() % kStems.size()]), 2, false};
  const unsigned how = in.byte();
  family.letters = how % 2 == 1;
  // Without a dot, more letters would belong to the stem.
  if (family.stem.back() == '.') family.width = 1 + how / 2 % 4;
  return family;
}

inline Parts take_parts(FuzzInput& in) {
  Parts parts;
  parts.family = take_family(in);
  const size_t limit = parts.family.limit();
  const size_t first = in.byte() % 3;
  const unsigned how = in.byte();
  const size_t count = how == 255 ? 1000 : how % 40;
  for (size_t i = first; i < first + count && i < limit; ++i) parts.there.insert(i);
  for (unsigned n = in.byte() % 4; n > 0; --n) parts.there.erase(in.byte());
  for (unsigned n = in.byte() % 4; n > 1; --n) parts.there.insert(in.number() % limit);
  parts.first = in.byte() % 3 % limit;
  const unsigned odd = in.byte();
  if (odd % 8 < 4) parts.oddity = static_cast<Oddity>(odd % 8);
  parts.odd = odd / 8;
  return parts;
}

}  // namespace snaptool::test
