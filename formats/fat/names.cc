// SPDX-License-Identifier: Apache-2.0
#include "formats/fat/names.h"

#include <algorithm>

#include "formats/common/utf16.h"
#include "libsnap/base/endian.h"

namespace snaptool::fat {
namespace {

constexpr size_t kMostParts = 20;
constexpr size_t kPartBytes = 26;
constexpr size_t kMostUnits = 255;
constexpr auto kIsLast = std::byte{0x40};
constexpr size_t kSumAt = 13;

uint8_t sum_of_slot(Bytes slot) { return name_sum(slot.first<11>()); }

// Of a deleted entry, the first byte of the short name is lost. For each sum there is one that it
// may have been: whether that could be.
bool is_lost_byte_sound(Bytes slot, uint8_t sum) {
  constexpr std::string_view kImpossible = "\"*+,./:;<=>?[\\]|";
  std::array<std::byte, 11> name{};
  std::copy_n(slot.begin(), name.size(), name.begin());
  for (unsigned byte = 0x21; byte < 0x100; ++byte) {
    name[0] = std::byte{static_cast<uint8_t>(byte)};
    if (name_sum(name) != sum) continue;
    const bool is_small = byte >= 'a' && byte <= 'z';
    return !is_small && kImpossible.find(static_cast<char>(byte)) == std::string_view::npos;
  }
  return false;
}

// The units of a part, at three places of its slot.
void append_units(std::vector<std::byte>& units, Bytes slot) {
  for (const auto& [at, length] : {std::pair<size_t, size_t>(1, 10), {14, 12}, {28, 4}}) {
    const Bytes piece = slot.subspan(at, length);
    units.insert(units.end(), piece.begin(), piece.end());
  }
}

}  // namespace

void LongName::add(Bytes slot) {
  const uint8_t sum = std::to_integer<uint8_t>(slot[kSumAt]);
  const bool deleted = is_deleted(slot);
  const unsigned number = std::to_integer<unsigned>(slot[0] & ~kIsLast);
  if (deleted) {
    const bool goes_on = is_deleted_ && sum == sum_ && parts_.size() < kMostParts * kPartBytes;
    if (!goes_on) parts_.clear();
  } else if ((slot[0] & kIsLast) != std::byte{0}) {
    parts_.clear();
    if (number == 0 || number > kMostParts) return;
    left_ = number;
  } else if (is_deleted_ || parts_.empty() || number != left_ || sum != sum_ || left_ == 0) {
    parts_.clear();
    return;
  }
  is_deleted_ = deleted;
  sum_ = sum;
  if (!deleted) --left_;
  append_units(parts_, slot);
}

bool LongName::belongs_to(Bytes slot) const {
  if (parts_.empty() || is_deleted_ != is_deleted(slot)) return false;
  return is_deleted_ ? is_lost_byte_sound(slot, sum_) : left_ == 0 && sum_ == sum_of_slot(slot);
}

std::string LongName::take(Bytes slot) {
  const bool belongs = belongs_to(slot);
  const std::vector<std::byte> parts = std::move(parts_);
  parts_.clear();
  if (!belongs) return "";
  std::vector<std::byte> units;
  for (size_t at = parts.size(); at > 0; at -= kPartBytes) {
    const Bytes part = Bytes(parts).subspan(at - kPartBytes, kPartBytes);
    for (size_t i = 0; i < kPartBytes; i += 2) {
      if (load_le<uint16_t>(part.data() + i) == 0) {
        // A name ends in its last part.
        if (at != kPartBytes) return "";
        break;
      }
      units.insert(units.end(), part.begin() + static_cast<ptrdiff_t>(i),
                   part.begin() + static_cast<ptrdiff_t>(i + 2));
    }
  }
  if (units.size() / 2 > kMostUnits) return "";
  std::string name = wtf8_of_utf16(units);
  const bool can_be = name != "." && name != ".." && name.find('/') == std::string::npos;
  return can_be ? name : "";
}

bool is_first_part_of(Bytes part, Bytes slot) {
  if (!is_long_part(part) || is_deleted(part) != is_deleted(slot)) return false;
  const uint8_t sum = std::to_integer<uint8_t>(part[kSumAt]);
  if (is_deleted(slot)) return is_lost_byte_sound(slot, sum);
  return (part[0] & ~kIsLast) == std::byte{1} && sum == sum_of_slot(slot);
}

}  // namespace snaptool::fat
