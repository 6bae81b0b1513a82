// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/crc32.h"

#include <zlib.h>

namespace snaptool {

uint32_t crc32(std::span<const std::byte> data, uint32_t crc) {
  return static_cast<uint32_t>(
      ::crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

}  // namespace snaptool
