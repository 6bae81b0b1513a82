// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "libsnap/base/io_bytes.h"
#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/view/snapshot.h"

namespace snaptool {

// An origin that is written to while snapshots of it exist: what the kernel's snapshot-origin
// target does. Before a range changes, every snapshot has what it still needs of it, durably; the
// range is read once for all of them. libsnap/snap/view/WRITE.md has the order.
class Origin {
 public:
  // Requires: `image` outlives this and can be written. `in_flight`: so many bytes are copied out
  // and written between two rounds of commits, at most.
  explicit Origin(Image& image, uint64_t in_flight = 64 * kMiB)
      : image_(image), in_flight_(in_flight) {}

  // Requires: `snapshot` outlives this or is removed, and is one of image().
  void add(Snapshot& snapshot) { snapshots_.push_back(&snapshot); }
  void remove(const Snapshot& snapshot);

  Image& image() { return image_; }
  const Image& image() const { return image_; }
  const std::vector<Snapshot*>& snapshots() const { return snapshots_; }

  // Writes. A snapshot that has no room for what it needs is invalidated, as in the kernel.
  // Requires: the range lies within image().size(). Errors: those of the files; nothing is written
  // to the origin after one.
  // Crash: the snapshots' views are what they were (of an invalidated one, none); of the origin's
  // range any subset of the sectors is written.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data);

  // Only the snapshots' part of a write: keeps what they need of the ranges, durably. Chunks are
  // taken in the order of the ranges.
  Result<void> copy_out(std::span<const ByteRange> ranges);

  // The same for all that a merge of `store` into the origin overwrites.
  // Requires: store.read_metadata succeeded. Errors: also kInterrupted.
  Result<void> copy_out_for_merge(PersistentStore& store, const Cancel& cancel);

  // The first snapshot that has no room for what a write of the range needs; nullptr when all have.
  const Snapshot* first_without_room(uint64_t offset, uint64_t length) const;

  Result<void> flush() { return image_.flush(); }

 private:
  struct Target {
    Snapshot* snapshot;
    Snapshot::CopyOut copies;
    size_t next = 0;  // the op that the copying is at
  };
  Result<void> copy(std::vector<Target>& targets);
  Result<void> hand_out(std::vector<Target>& targets, uint64_t offset,
                        std::span<const std::byte> bytes);

  Image& image_;
  uint64_t in_flight_;
  std::vector<Snapshot*> snapshots_;
  RawBytes buffer_;
};

}  // namespace snaptool
