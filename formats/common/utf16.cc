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

}  // namespace

std::string utf8_of_utf16(std::span<const std::byte> utf16, bool big_endian) {
  const auto unit = [&](size_t i) {
    const std::byte* const at = utf16.data() + 2 * i;
    return uint32_t{big_endian ? load_be<uint16_t>(at) : load_le<uint16_t>(at)};
  };
  std::string text;
  const size_t units = utf16.size() / 2;
  for (size_t i = 0; i < units && unit(i) != 0; ++i) {
    uint32_t point = unit(i);
    if (point >= 0xd800 && point < 0xe000) {
      const bool pair = point < 0xdc00 && i + 1 < units && (unit(i + 1) & 0xfc00U) == 0xdc00U;
      point = pair ? 0x10000 + ((point - 0xd800) << 10U) + (unit(++i) - 0xdc00) : 0xfffd;
    }
    append_utf8(text, point);
  }
  return text;
}

}  // namespace snaptool
