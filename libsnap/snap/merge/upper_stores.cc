// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/merge/upper_stores.h"

#include <algorithm>

namespace snaptool {

Result<void> UpperStores::add(PersistentStore& store, const Cancel& cancel) {
  SNAP_ASSIGN(ExceptionTable exceptions, ExceptionTable::load(store, cancel));
  uppers_.push_back(
      {store.chunk_bytes(), std::make_shared<const ExceptionTable>(std::move(exceptions))});
  return {};
}

UpperStores::Stretch UpperStores::stretch_at(uint64_t offset, uint64_t limit) const {
  for (const Upper& upper : uppers_) {
    const auto found = upper.exceptions->find(offset / upper.chunk_bytes);
    const uint64_t in_chunk = offset % upper.chunk_bytes;
    const bool ends_first = found.length <= (limit + in_chunk) / upper.chunk_bytes;
    const uint64_t length =
        ends_first ? std::min(limit, found.length * upper.chunk_bytes - in_chunk) : limit;
    if (found.mapped) return {true, length};
    limit = length;
  }
  return {false, limit};
}

ByteRange UpperStores::first_shown(ByteRange range) const {
  while (range.length > 0) {
    const Stretch stretch = stretch_at(range.offset, range.length);
    if (!stretch.hidden) return {range.offset, stretch.length};
    range.offset += stretch.length;
    range.length -= stretch.length;
  }
  return {};
}

}  // namespace snaptool
