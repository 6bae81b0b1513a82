// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/common/cluster_chain.h"
#include "formats/fat/layout.h"

namespace snaptool::fat {

// The file allocation table that is in use.
class Table : public ClusterTable {
 public:
  // Requires: both outlive it.
  Table(ImagePages& pages, const BootSector& boot) : pages_(pages), boot_(boot) {}

  uint32_t clusters() const override { return boot_.clusters; }
  Result<ClusterLink> next(uint32_t cluster) override;
  Result<bool> is_free(uint32_t cluster) override;
  // What it has for an entry, whatever that is. Requires: cluster < clusters() + 2.
  Result<uint32_t> value(uint32_t cluster);

 private:
  ImagePages& pages_;
  const BootSector& boot_;
};

}  // namespace snaptool::fat
