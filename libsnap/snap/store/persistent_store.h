// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/store/defect.h"
#include "libsnap/snap/store/exception_store.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// What the header says the store is.
enum class StoreState {
  kNone,  // magic 0 and no list: a new store, empty
  kValid,
  kInvalid,  // the kernel fails every read and write of it
};

// A store of type P or PO: reads what the kernel reads, refuses what it refuses, and leaves what
// it leaves. Source: dm-snap-persistent.c, Linux 6.1.
class PersistentStore : public ExceptionStore {
 public:
  // Reads the header. Requires: `cow` outlives this.
  // Errors: kCorruption with what the kernel would refuse it for, or that its header was wiped
  // (magic 0, with a list behind it: the kernel would empty it); kNotFound for a file of zeros that
  // is too small for a store; kIo. An invalid store opens.
  static Result<PersistentStore> open(File& cow);

  // As open, but what is wrong with the header is a finding (nothing else is then known of the
  // store).
  struct Examined;
  static Result<Examined> examine(File& cow);

  File& cow() const override { return *cow_; }
  StoreState state() const { return state_; }
  const DiskHeader& header() const { return header_; }
  // Requires: state() is not kNone.
  const Layout& layout() const { return *layout_; }
  uint64_t chunk_bytes() const override { return layout().chunk_bytes(); }
  // Whole chunks that the COW holds: a part chunk at its end is never used.
  uint64_t cow_chunks() const;

  // Called with a stretch of the list: entry `first` of area `area` and those behind it, all live.
  using MetadataVisitor =
      std::function<Result<void>(uint64_t area, uint64_t first, std::span<const Exception>)>;

  // Walks the list from its start to its terminator, in pieces of at most kIoPiece, and remembers
  // where it ends. Requires: state() is not kNone. Memory: constant. Errors: the visitor's;
  // kInterrupted; kCorruption when a full area's successor lies beyond the end of the COW
  // (missing_area() tells).
  Result<void> read_metadata(const MetadataVisitor& visit, const Cancel& cancel);
  // The same, only to know where it ends.
  Result<void> read_metadata(const Cancel& cancel);

  // Whether header and areas are on the medium what reads give. Those that were in the page cache
  // are not, mostly, when this returns. Requires: the COW was flushed; state() is not kNone.
  // Errors: kIo, kInterrupted.
  Result<bool> metadata_is_on_medium(const Cancel& cancel);

  // After a read_metadata that failed for it: the area that is not there.
  std::optional<uint64_t> missing_area() const { return missing_area_; }
  // After read_metadata (and changed by commit_merge): how many entries are live.
  uint64_t exceptions() const { return exceptions_; }
  // The area that holds the terminator, counted from 0.
  uint64_t current_area() const { return exceptions_ / layout_->exceptions_per_area(); }
  // The numbers of dmsetup status. Requires: read_metadata succeeded.
  Usage usage() const override;
  // The chunk that the next exception's data would go to. Requires: read_metadata succeeded.
  uint64_t next_free() const { return next_free_; }

  // What lies behind the terminator in the current area, as (index in the area, entry): every entry
  // that is not all zero, the terminator itself included. Requires: read_metadata succeeded.
  Result<void> visit_tail(const std::function<void(uint64_t, Exception)>& visit);
  // Zeroes what visit_tail would show, downward, at most a page at a time. Returns whether anything
  // was. Crash: any part of it zeroed; the live entries are untouched. Not flushed.
  Result<bool> zero_tail();

  // The entries before entry `end` of the list, the last one first, at most `limit`: what a merge
  // takes next (`end` is exceptions() unless entries behind it are kept). Requires: read_metadata
  // succeeded; end <= exceptions(). Memory: the entries.
  Result<std::vector<Exception>> prepare_merge(uint64_t end, uint64_t limit);
  // Clears the last `count` live entries: downward, at most a page at a time, so that whatever
  // subset of the writes survives, the entries before them stay readable. Requires: their data are
  // durable on the origin. Crash: any subset of the cleared sectors is zero; the view is unchanged.
  // Not flushed.
  Result<void> commit_merge(uint64_t count);

  // What stands at entry `first` of the list and behind it, live or not. Errors: kCorruption where
  // there is no area; kIo.
  Result<void> read_entries(uint64_t first, std::span<Exception> out);
  // Undoes commit_merge: puts entries back at `first`, upward, at most a page at a time. Requires:
  // the origin has their data, so that no subset of them changes the view. Crash: any subset of
  // the sectors is written. Not flushed.
  Result<void> restore_entries(uint64_t first, std::span<const Exception> entries);

  // The writer's half of ExceptionStore. Requires: state() is kValid, read_metadata succeeded,
  // what lies behind the terminator may be cleared (tail.h), and no merge is under way.
  std::optional<Prepared> prepare_exception() override;
  uint64_t room() const override;
  uint64_t chunks_for(uint64_t more) const override;
  // Clears the tail first. libsnap/snap/view/WRITE.md has the order. Crash: of the area that held
  // the terminator any subset of the sectors is written; areas behind it are whole where they can
  // be seen. No entry is on disk before its data, and no area is full before its successor is
  // zeroed.
  Result<void> commit_exceptions(std::span<const Exception> exceptions) override;
  // valid = 0 in the header, flushed. Crash: it is, or it is not.
  Result<void> drop_snapshot() override;

 private:
  PersistentStore(File& cow, DiskHeader header) : cow_(&cow), header_(header) {}
  Result<void> read_area_piece(uint64_t area, uint64_t first, std::span<Exception> out);
  Result<void> zero_entries(uint64_t area, uint64_t begin, uint64_t end);
  void read_ahead(uint64_t area);
  void skip_metadata();
  Result<void> zero_area(uint64_t area);

  File* cow_;
  DiskHeader header_;
  StoreState state_ = StoreState::kNone;
  std::optional<Layout> layout_;
  uint64_t exceptions_ = 0;
  uint64_t next_free_ = 0;
  uint64_t pending_ = 0;       // prepared and not yet committed
  bool tail_is_zero_ = false;  // behind the terminator, as far as is known
  std::optional<uint64_t> missing_area_;
  std::vector<std::byte> buffer_;
};

struct PersistentStore::Examined {
  std::optional<PersistentStore> store;  // absent when a finding makes the rest unreadable
  std::vector<Finding> findings;
};

// Has the metadata of a store be read as the medium has them: after a flush that failed, the page
// cache shows what was written as if it were there. Data chunks may come from the cache: those of
// entries that are on the medium were flushed before these. false: it cannot be told whether reads
// give what the medium has. Requires: the COW was flushed; no other call is under way. Errors: kIo,
// kInterrupted.
Result<bool> trust_metadata_on_medium(File& cow, const Cancel& cancel);

}  // namespace snaptool
