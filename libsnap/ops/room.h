// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "libsnap/snap/view/origin.h"

namespace snaptool::ops {

// Whether there is room for what an operation needs, told before its first write. Errors of all:
// kNoSpace, with the size that would do.

// In a store that is written to, for so many exceptions of `what` ("the write").
Result<void> check_room(const Snapshot& snapshot, uint64_t needed, std::string_view what);

// In `stores`, which a merge of `cow` writes to: the one below it, and those of the origin's
// snapshots. Errors: also those of reading `cow`.
Result<void> check_room_for_merge(const std::vector<const Snapshot*>& stores, File& cow,
                                  const Cancel& cancel);

// In the snapshots of an origin that is written to. `written`: bytes of the same write that are
// there already.
Result<void> check_room_for_copies(const Origin& origin, uint64_t offset, uint64_t length,
                                   uint64_t written);

// Counts what writes need that come in ascending order: exceptions of a view, or space in the file
// system of a raw image, whose holes they fill.
class RoomCounter {
 public:
  // Requires: what is given outlives this. nullptr: the image is raw.
  RoomCounter(const Snapshot* snapshot, File& file) : snapshot_(snapshot), file_(file) {}
  Result<void> add(uint64_t offset, uint64_t length);
  // Chunks of a view, or bytes.
  uint64_t needed() const { return needed_; }
  // `ignore_space`: a file system that seems too small is no reason.
  Result<void> check(std::string_view what, bool ignore_space) const;

 private:
  const Snapshot* snapshot_;
  File& file_;
  uint64_t counted_ = 0;  // chunks before it are counted
  uint64_t needed_ = 0;   // chunks, or bytes
};

}  // namespace snaptool::ops
