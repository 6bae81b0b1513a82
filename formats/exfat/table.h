// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/common/cluster_chain.h"
#include "formats/exfat/layout.h"

namespace snaptool::exfat {

// The FAT, which has the chains, and the bitmap, which says what is free.
class Table : public ClusterTable {
 public:
  // Requires: both outlive it.
  Table(ImagePages& pages, const BootSector& boot) : pages_(pages), boot_(boot) {}
  // Where the bitmap lies. Errors: kCorruption where it is no bitmap of all clusters; those of
  // Image.
  Result<void> open_bitmap(const Extent& bitmap);

  uint32_t clusters() const override { return boot_.clusters; }
  Result<ClusterLink> next(uint32_t cluster) override;
  // kCorruption without a bitmap.
  Result<bool> is_free(uint32_t cluster) override;

 private:
  ImagePages& pages_;
  const BootSector& boot_;
  std::optional<ClusterChain> bitmap_;
  uint64_t piece_start_ = UINT64_MAX;  // of the bitmap: the bytes that were asked for last
  RawBytes piece_;
};

}  // namespace snaptool::exfat
