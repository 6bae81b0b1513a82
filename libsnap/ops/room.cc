// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/room.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::ops {

Result<void> check_room(const Snapshot& snapshot, uint64_t needed, std::string_view what) {
  if (needed <= snapshot.room()) return {};
  const auto size = snapshot.cow_size_for(needed);
  const std::string advice = size ? fmt::format("; a COW of {} bytes would do", *size) : "";
  return Error(
             ErrorCode::kNoSpace,
             fmt::format("'{}' has room for {} more chunks, and {} needs {}: nothing was written{}",
                         snapshot.cow().name(), snapshot.room(), what, needed, advice))
      .with_remedy(size ? Remedy::kResizeStore : Remedy::kNone);
}

Result<void> check_room_for_merge(const std::vector<const Snapshot*>& stores, File& cow,
                                  const Cancel& cancel) {
  if (stores.empty()) return {};
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  if (store.state() == StoreState::kNone) return {};
  SNAP_ASSIGN(ExceptionTable table, ExceptionTable::load(store, cancel));
  for (const Snapshot* const snapshot : stores) {
    SNAP_TRY(check_room(*snapshot, snapshot->exceptions_needed_to_merge(table, store.chunk_bytes()),
                        "the merge"));
  }
  return {};
}

Result<void> check_room_for_copies(const Origin& origin, uint64_t offset, uint64_t length,
                                   uint64_t written) {
  const Snapshot* const full = origin.first_without_room(offset, length);
  if (full == nullptr) return {};
  const uint64_t needed = full->exceptions_needed(offset, length);
  const auto size = full->cow_size_for(needed);
  return Error(
             ErrorCode::kNoSpace,
             fmt::format("snapshot '{}' has room for {} more chunks, and must keep {}: {}{}",
                         full->cow().name(), full->room(), needed,
                         written == 0 ? std::string("nothing was changed")
                                      : fmt::format("nothing was changed past byte {}", offset),
                         size ? fmt::format("; a COW of {} bytes would do", *size) : std::string()))
      .with_remedy(Remedy::kAllowInvalid);
}

Result<void> RoomCounter::add(uint64_t offset, uint64_t length) {
  uint64_t begin = std::max(offset, counted_);
  const uint64_t end = offset + length;
  if (begin >= end) return {};
  if (snapshot_ != nullptr) {
    needed_ += snapshot_->exceptions_needed(begin, end - begin);
    counted_ = div_round_up(end, snapshot_->chunk_bytes()) * snapshot_->chunk_bytes();
    return {};
  }
  counted_ = end;
  while (begin < std::min(end, file_.size())) {
    SNAP_ASSIGN(const Extent extent, file_.extent_at(begin, end - begin));
    if (extent.zero) needed_ += extent.length;
    begin += extent.length;
  }
  needed_ += end - begin;
  return {};
}

Result<void> RoomCounter::check(std::string_view what, bool ignore_space) const {
  if (snapshot_ != nullptr) return check_room(*snapshot_, needed_, what);
  const auto left = file_.space_left();
  if (!left || *left >= needed_ || ignore_space) return {};
  return Error(ErrorCode::kNoSpace,
               fmt::format("{} fills {} of '{}' where nothing is yet, but its file system has {} "
                           "left: nothing was written",
                           what, format_size(needed_), file_.name(), format_size(*left)))
      .with_remedy(Remedy::kForce);
}

}  // namespace snaptool::ops
