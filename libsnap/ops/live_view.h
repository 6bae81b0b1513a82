// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "libsnap/access/door.h"

namespace snaptool::ops {

// The view of a store over its origin, to be written to for as long as this lives, one request
// after the other, as a block device on it would be. The store is at every instant one that the
// kernel can go on with; durable is what was written before flush returned.
class LiveView {
 public:
  // Opens the topmost store for writing, and all below it for reading. Writes nothing. `kind` is
  // what a full store means: kPersistent, it is invalidated, or kPersistentOverflow, the write
  // fails. `discard_tail` as in SnapshotOptions. Requires: `context` outlives this. Errors: those
  // of Door::open_disk; kInvalidArgument for what is no view.
  static Result<std::unique_ptr<LiveView>> open(const access::Context& context,
                                                const access::ImageSpec& image, StoreKind kind,
                                                bool discard_tail);

  // Read, write_at, flush and extent_at: as Snapshot.
  Image& image() { return *disk_.image; }
  uint64_t chunk_bytes() const { return disk_.snapshot->chunk_bytes(); }
  // A discard, as the kernel does it: what the store has of the range becomes zeros; what it has
  // not stays the origin's. Whole sectors only: the rest of the range is left alone. Errors: those
  // of Snapshot::discard.
  Result<void> trim(uint64_t offset, uint64_t length);

 private:
  explicit LiveView(const access::Context& context) : door_(context, access::operations::kServe) {}

  access::Door door_;
  access::Disk disk_;
};

}  // namespace snaptool::ops
