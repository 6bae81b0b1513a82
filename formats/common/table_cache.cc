// SPDX-License-Identifier: Apache-2.0
#include "formats/common/table_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool {

Result<std::shared_ptr<const RawBytes>> TableCache::page(uint64_t start) {
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[start / kPageBytes % slots_.size()];
  if (slot.start == start) return slot.page;
  const auto bytes = std::make_shared<RawBytes>(std::min(kPageBytes, file_.size() - start));
  SNAP_TRY(file_.read_at(start, *bytes));
  slot = {start, bytes};
  return slot.page;
}

Result<const std::byte*> TableCache::Cursor::bytes(uint64_t offset, uint64_t size) {
  SNAP_CHECK(offset % size == 0);
  const uint64_t start = round_down(offset, kPageBytes);
  if (page_ == nullptr || start_ != start) {
    if (offset >= cache_.file_.size()) page_ = nullptr;
    if (offset < cache_.file_.size()) {
      SNAP_ASSIGN(page_, cache_.page(start));
    }
    start_ = start;
  }
  if (page_ == nullptr || page_->size() < size || offset - start > page_->size() - size) {
    page_ = nullptr;
    return Error(ErrorCode::kCorruption,
                 fmt::format("a table goes on at byte {}, past the end of '{}' at {}", offset,
                             cache_.file_.name(), cache_.file_.size()));
  }
  return page_->data() + (offset - start);
}

}  // namespace snaptool
