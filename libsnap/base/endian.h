// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace snaptool {

// Little-endian numbers at any address, on hosts of either byte order.
template <typename T>
T load_le(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::big) {
    if constexpr (sizeof(T) == 8) value = static_cast<T>(__builtin_bswap64(value));
    if constexpr (sizeof(T) == 4) value = static_cast<T>(__builtin_bswap32(value));
  }
  return value;
}
template <typename T>
void store_le(std::byte* to, T value) {
  if constexpr (std::endian::native == std::endian::big) {
    if constexpr (sizeof(T) == 8) value = static_cast<T>(__builtin_bswap64(value));
    if constexpr (sizeof(T) == 4) value = static_cast<T>(__builtin_bswap32(value));
  }
  std::memcpy(to, &value, sizeof value);
}

}  // namespace snaptool
