// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "libsnap/base/units.h"
#include "libsnap/snap/store/exception_table.h"

namespace snaptool {

// What stores that lie over another one hide of it: their exceptions, whatever their chunk sizes.
// Memory: as ExceptionTable; copies share it.
class UpperStores {
 public:
  // Reads a store's list. Errors: those of ExceptionTable::load.
  Result<void> add(PersistentStore& store, const Cancel& cancel);

  bool empty() const { return uppers_.empty(); }

  // The first part of the range that none of them has; empty when they hide all of it.
  // Requires: the range ends below 2^63.
  ByteRange first_shown(ByteRange range) const;

 private:
  struct Upper {
    uint64_t chunk_bytes;
    std::shared_ptr<const ExceptionTable> exceptions;
  };
  // How far from `offset` on a store hides all, or nothing, within `limit` bytes.
  struct Stretch {
    bool hidden;
    uint64_t length;
  };
  Stretch stretch_at(uint64_t offset, uint64_t limit) const;

  std::vector<Upper> uppers_;
};

}  // namespace snaptool
