// SPDX-License-Identifier: Apache-2.0
#include "formats/exfat/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::exfat {

Result<void> Table::open_bitmap(const Extent& bitmap) {
  const uint64_t bytes = div_round_up(boot_.clusters, 8);
  if (bitmap.length < bytes) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("its bitmap of {} bytes is not one of {} clusters", bitmap.length,
                             boot_.clusters));
  }
  SNAP_ASSIGN(ClusterChain chain,
              ClusterChain::check(*this, pages_, ClusterChain::Kind::kLinked, bitmap.first,
                                  div_round_up(bytes, boot_.cluster_bytes)));
  if (!chain.reason().empty()) {
    return Error(ErrorCode::kCorruption, fmt::format("its bitmap: {}", chain.reason()));
  }
  bitmap_ = std::move(chain);
  return {};
}

Result<ClusterLink> Table::next(uint32_t cluster) {
  constexpr uint32_t kBad = 0xfffffff7;
  std::array<std::byte, 4> bytes{};
  SNAP_TRY(pages_.read(boot_.fat_start + uint64_t{cluster} * 4, bytes));
  const auto found = load_le<uint32_t>(bytes.data());
  if (has(found)) return ClusterLink{ClusterLink::Kind::kCluster, found};
  if (found == UINT32_MAX) return ClusterLink{ClusterLink::Kind::kEnd, 0};
  if (found == kBad) return ClusterLink{ClusterLink::Kind::kBad, 0};
  return ClusterLink{ClusterLink::Kind::kOutside, found};
}

Result<bool> Table::is_free(uint32_t cluster) {
  if (!bitmap_) return Error(ErrorCode::kCorruption, "it has no sound bitmap");
  const uint64_t at = (cluster - 2) / 8;
  const uint64_t piece_bytes = std::min<uint64_t>(boot_.cluster_bytes, 4 * kKiB);
  const uint64_t start = round_down(at, piece_bytes);
  if (start != piece_start_) {
    piece_start_ = UINT64_MAX;
    const uint64_t bytes = div_round_up(boot_.clusters, 8);
    piece_.resize(std::min(piece_bytes, bytes - start));
    SNAP_ASSIGN(const ClusterChain::Run run,
                bitmap_->run_at(*this, static_cast<uint32_t>(start / boot_.cluster_bytes), 1));
    const uint64_t place = boot_.heap_start + (uint64_t{run.cluster} - 2) * boot_.cluster_bytes;
    SNAP_TRY(pages_.read(place + start % boot_.cluster_bytes, piece_));
    piece_start_ = start;
  }
  const auto byte = std::to_integer<unsigned>(piece_[at - start]);
  return (byte >> ((cluster - 2) % 8) & 1U) == 0;
}

}  // namespace snaptool::exfat
