// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace snaptool {

// How the 16 bytes of a UUID are stored.
enum class UuidOrder {
  kNetwork,  // as RFC 4122 writes them
  kGuid,     // the first three fields little-endian, as Windows and VirtualBox do
};

using Uuid = std::array<std::byte, 16>;

// Requires: there are 16 bytes.
Uuid uuid_at(std::span<const std::byte> bytes, size_t offset);
bool is_null(const Uuid& uuid);
// In lower case, with dashes.
std::string uuid_text(const Uuid& uuid, UuidOrder order);
// A new one of version 4. Cannot be foretold.
Uuid random_uuid(UuidOrder order);

}  // namespace snaptool
