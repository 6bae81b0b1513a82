// SPDX-License-Identifier: Apache-2.0
#include "formats/common/utf16.h"

#include <cstdint>

#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

void append_utf8(std::string& text, uint32_t point) {
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xc0U | point >> 6U);
    text += static_cast<char>(0x80U | (point & 0x3fU));
  } else if (point < 0x10000) {
    text += static_cast<char>(0xe0U | point >> 12U);
    text += static_cast<char>(0x80U | (point >> 6U & 0x3fU));
    text += static_cast<char>(0x80U | (point & 0x3fU));
  } else {
    text += static_cast<char>(0xf0U | point >> 18U);
    text += static_cast<char>(0x80U | (point >> 12U & 0x3fU));
    text += static_cast<char>(0x80U | (point >> 6U & 0x3fU));
    text += static_cast<char>(0x80U | (point & 0x3fU));
  }
}

uint32_t unit_at(std::span<const std::byte> utf16, size_t i, bool big_endian) {
  const std::byte* const at = utf16.data() + 2 * i;
  return uint32_t{big_endian ? load_be<uint16_t>(at) : load_le<uint16_t>(at)};
}

// The character that begins at `i`, which is moved to its last unit; half a pair as it is.
uint32_t point_at(std::span<const std::byte> utf16, size_t& i, bool big_endian) {
  const uint32_t unit = unit_at(utf16, i, big_endian);
  if (unit < 0xd800 || unit >= 0xdc00 || i + 1 >= utf16.size() / 2) return unit;
  const uint32_t next = unit_at(utf16, i + 1, big_endian);
  if ((next & 0xfc00U) != 0xdc00U) return unit;
  ++i;
  return 0x10000 + ((unit - 0xd800) << 10U) + (next - 0xdc00);
}

}  // namespace

std::string utf8_of_utf16(std::span<const std::byte> utf16, bool big_endian) {
  std::string text;
  for (size_t i = 0; i < utf16.size() / 2; ++i) {
    const uint32_t point = point_at(utf16, i, big_endian);
    if (point == 0) break;
    append_utf8(text, point >= 0xd800 && point < 0xe000 ? 0xfffd : point);
  }
  return text;
}

std::string wtf8_of_utf16(std::span<const std::byte> utf16, bool big_endian) {
  std::string text;
  for (size_t i = 0; i < utf16.size() / 2; ++i) {
    append_utf8(text, point_at(utf16, i, big_endian));
  }
  return text;
}

}  // namespace snaptool
