// SPDX-License-Identifier: Apache-2.0
#include "formats/common/uuid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace snaptool {
namespace {

// The bytes as they are written in text, from those that are stored; and back.
Uuid reordered(Uuid uuid, UuidOrder order) {
  if (order == UuidOrder::kNetwork) return uuid;
  std::reverse(uuid.begin(), uuid.begin() + 4);
  std::swap(uuid[4], uuid[5]);
  std::swap(uuid[6], uuid[7]);
  return uuid;
}

}  // namespace

Uuid uuid_at(std::span<const std::byte> bytes, size_t offset) {
  Uuid uuid;
  std::memcpy(uuid.data(), bytes.subspan(offset, uuid.size()).data(), uuid.size());
  return uuid;
}

bool is_null(const Uuid& uuid) { return uuid == Uuid{}; }

std::string uuid_text(const Uuid& uuid, UuidOrder order) {
  std::string text;
  const Uuid bytes = reordered(uuid, order);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(bytes[i]));
  }
  return text;
}

Uuid random_uuid(UuidOrder order) {
  std::random_device random;
  Uuid bytes;
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xffU);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return reordered(bytes, order);
}

}  // namespace snaptool
