// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace snaptool {

namespace endian_detail {
template <typename T>
T swapped(T value) {
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  return value;
}
template <std::endian kOrder, typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == kOrder ? value : swapped(value);
}
template <std::endian kOrder, typename T>
void store(std::byte* to, T value) {
  if (std::endian::native != kOrder) value = swapped(value);
  std::memcpy(to, &value, sizeof value);
}
}  // namespace endian_detail

// Unsigned numbers of one byte order at any address, on hosts of either.
template <typename T>
T load_le(const std::byte* from) {
  return endian_detail::load<std::endian::little, T>(from);
}
template <typename T>
void store_le(std::byte* to, T value) {
  endian_detail::store<std::endian::little>(to, value);
}
template <typename T>
T load_be(const std::byte* from) {
  return endian_detail::load<std::endian::big, T>(from);
}
template <typename T>
void store_be(std::byte* to, T value) {
  endian_detail::store<std::endian::big>(to, value);
}

}  // namespace snaptool
