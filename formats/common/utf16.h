// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace snaptool {

// UTF-16 as UTF-8, up to the first NUL; half a pair becomes U+FFFD.
std::string utf8_of_utf16(std::span<const std::byte> utf16, bool big_endian = false);
// All of it, NULs too; half a pair becomes the three bytes that UTF-8 would have for it, so that no
// two names become one.
std::string wtf8_of_utf16(std::span<const std::byte> utf16, bool big_endian = false);

}  // namespace snaptool
