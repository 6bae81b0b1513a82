// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace snaptool {

// The CRC-32 of IEEE 802.3 (polynomial 0xedb88320; zlib's), continued from `crc`: that of
// "123456789" from 0 is 0xcbf43926.
uint32_t crc32(std::span<const std::byte> data, uint32_t crc = 0);

}  // namespace snaptool
