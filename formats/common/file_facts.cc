// SPDX-License-Identifier: Apache-2.0
#include "formats/common/file_facts.h"

#include "libsnap/base/crc32.h"
#include "libsnap/base/crc32c.h"

namespace snaptool {

access::NodeType type_of_mode(uint32_t mode) {
  using access::NodeType;
  switch (mode >> 12U) {
    case 0x1:
      return NodeType::kFifo;
    case 0x2:
      return NodeType::kCharacterDevice;
    case 0x4:
      return NodeType::kFolder;
    case 0x6:
      return NodeType::kBlockDevice;
    case 0x8:
      return NodeType::kFile;
    case 0xa:
      return NodeType::kLink;
    case 0xc:
      return NodeType::kSocket;
    default:
      return NodeType::kOther;
  }
}

bool is_sound_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

uint64_t bytes_sum(std::span<const std::byte> bytes, uint64_t seed) {
  // Two sums of other polynomials.
  uint64_t sum = uint64_t{crc32(bytes, static_cast<uint32_t>(seed))} << 32U |
                 crc32c(bytes, static_cast<uint32_t>(seed >> 32U));
  sum = (sum ^ sum >> 31U) * 0x9e3779b97f4a7c15U;
  return sum ^ sum >> 29U;
}

}  // namespace snaptool
