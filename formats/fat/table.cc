// SPDX-License-Identifier: Apache-2.0
#include "formats/fat/table.h"

#include "libsnap/base/endian.h"

namespace snaptool::fat {

Result<uint32_t> Table::value(uint32_t cluster) {
  std::array<std::byte, 4> bytes{};
  const uint64_t start = boot_.fat_start + boot_.active_fat * boot_.fat_bytes;
  if (boot_.bits == 32) {
    SNAP_TRY(pages_.read(start + uint64_t{cluster} * 4, bytes));
    return load_le<uint32_t>(bytes.data()) & 0x0fffffffU;  // the others are reserved
  }
  const uint64_t at = boot_.bits == 16 ? uint64_t{cluster} * 2 : cluster + cluster / 2;
  SNAP_TRY(pages_.read(start + at, std::span(bytes).first(2)));
  const uint32_t pair = load_le<uint16_t>(bytes.data());
  if (boot_.bits == 16) return pair;
  return cluster % 2 == 0 ? pair & 0xfffU : pair >> 4U;
}

Result<ClusterLink> Table::next(uint32_t cluster) {
  SNAP_ASSIGN(const uint32_t found, value(cluster));
  const uint32_t most = boot_.bits == 32 ? 0x0fffffffU : (1U << boot_.bits) - 1;
  if (found == 0) return ClusterLink{ClusterLink::Kind::kFree, 0};
  if (has(found)) return ClusterLink{ClusterLink::Kind::kCluster, found};
  if (found >= most - 7) return ClusterLink{ClusterLink::Kind::kEnd, 0};
  if (found == most - 8) return ClusterLink{ClusterLink::Kind::kBad, 0};
  return ClusterLink{ClusterLink::Kind::kOutside, found};
}

Result<bool> Table::is_free(uint32_t cluster) {
  SNAP_ASSIGN(const uint32_t found, value(cluster));
  return found == 0;
}

}  // namespace snaptool::fat
