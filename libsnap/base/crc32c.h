// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace snaptool {

// The CRC-32C of Castagnoli (polynomial 0x82f63b78), continued from `crc`: that of "123456789" from
// 0 is 0xe3069283.
uint32_t crc32c(std::span<const std::byte> data, uint32_t crc = 0);

}  // namespace snaptool
