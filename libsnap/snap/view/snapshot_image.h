// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "libsnap/io/image.h"
#include "libsnap/snap/store/exception_table.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

// The view of a snapshot: a store over its origin (which may be a view itself). Its size is the
// origin's, rounded down to whole sectors, as the kernel sees it.
class SnapshotImage : public Image {
 public:
  // What becomes of a store that is invalid, or that verify_store calls corrupt.
  enum class Damage {
    kRefuse,
    kShow,     // the view is what the kernel would show of the list, over an origin that may have
               // moved on; of several entries for one chunk, the first
    kChecked,  // the caller has verified it, and takes it as it is
  };

  // Verifies the store, and reads the whole list. A new store gives the origin unchanged, as in the
  // kernel. Requires: origin and cow outlive this.
  // Errors: kCorruption; kInvalidated; those of PersistentStore::open and ExceptionTable::load,
  // which no `damage` lets pass.
  static Result<std::unique_ptr<SnapshotImage>> open(Image& origin, File& cow, Damage damage,
                                                     const Cancel& cancel);
  // The first bytes of the same view, at most `length`: reads as open's, but keeps only the entries
  // that matter to them, so that its memory does not grow with the store. An invalid store opens.
  static Result<std::unique_ptr<SnapshotImage>> open_head(Image& origin, File& cow, uint64_t length,
                                                          const Cancel& cancel);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

  StoreState state() const { return store_.state(); }
  // What is wrong with the store, where it is shown all the same: a sentence each.
  const std::vector<std::string>& doubts() const { return doubts_; }

 private:
  SnapshotImage(Image& origin, PersistentStore store);
  // Where `offset` lies: in the COW at `cow_offset`, or in the origin, for `length` bytes.
  struct Place {
    bool in_cow = false;
    uint64_t cow_offset = 0;
    uint64_t length = 0;
  };
  Result<Place> locate(uint64_t offset, uint64_t limit) const;

  Image& origin_;
  PersistentStore store_;
  ExceptionTable table_;
  std::string name_;
  uint64_t size_;
  std::vector<std::string> doubts_;
};

}  // namespace snaptool
