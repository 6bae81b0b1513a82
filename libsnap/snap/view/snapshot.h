// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "libsnap/base/io_bytes.h"
#include "libsnap/base/progress.h"
#include "libsnap/copy/copier.h"
#include "libsnap/io/image.h"
#include "libsnap/snap/store/exception_store.h"
#include "libsnap/snap/store/exception_table.h"
#include "libsnap/snap/store/tail.h"

namespace snaptool {

struct SnapshotOptions {
  StoreKind kind = StoreKind::kPersistent;
  uint64_t chunk_sectors = 0;  // of a transient store; a persistent one says its own
  // Drop entries that lie behind the end of the list although the origin does not have their data.
  bool discard_tail = false;
  // Data written between two commits, at most, in bytes.
  uint64_t in_flight = 64 * kMiB;
  // Who else may have what such entries add, so that they can be dropped all the same.
  TailKeeper tail_keeper = {};
};

// What discard does; the kernel's features of the same names.
struct DiscardOptions {
  bool zeroes_cow = false;
  bool passdown_origin = false;
};

// A snapshot that is written to: what the kernel's snapshot target does on each request, with the
// requests one after the other. libsnap/snap/view/WRITE.md has the order and what each crash
// leaves.
//
// Reads show everything written; durable is what was written before flush returned. Not for several
// threads at once. After an error of a file every later call returns it again.
//
// Memory: the exception table, 16 bytes an exception that is not committed, and a buffer.
class Snapshot : public Image {
 public:
  // Opens the store for writing, and checks all of its metadata. Writes nothing: what a torn commit
  // or merge left behind the end of the list is cleared by the first commit. (A transient store is
  // empty, whatever the COW holds.)
  // Requires: `origin` and `cow` outlive this; `cow` is open for writing.
  // Errors: kCorruption, kInvalidated, kNotFound for magic 0; those of verify_store.
  static Result<std::unique_ptr<Snapshot>> open(Image& origin, File& cow,
                                                const SnapshotOptions& options,
                                                const Cancel& cancel);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  // Errors: also kInvalidated.
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

  // Copies on write. Where the COW is full, what comes before is written, and then a store of kind
  // P or N is invalidated, of kind PO takes no more writes. Errors: also kNoSpace, for that;
  // kInvalidated.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  // Commits what is pending and makes every write so far durable.
  Result<void> flush() override;

  // As the kernel: whole chunks with an exception are zeroed in the COW, parts of them punched,
  // chunks without one left alone; passed down, the range is punched in the origin without a copy
  // of it (other snapshots of the origin lose their views of it). Requires: whole sectors.
  // Errors: kUnsupported without zeroes_cow, or when the origin cannot be punched; as write_at.
  Result<void> discard(uint64_t offset, uint64_t length, const DiscardOptions& options);

  // How many exceptions a write of that range would make, and how many there is room for.
  uint64_t exceptions_needed(uint64_t offset, uint64_t length) const;
  // The same for a merge of a store over this one, with these exceptions.
  uint64_t exceptions_needed_to_merge(ExceptionTable& upper, uint64_t upper_chunk_bytes) const;
  uint64_t room() const { return store_->room(); }
  // The size, in bytes, that the COW would need for so many more exceptions; nothing where no file
  // is that large.
  std::optional<uint64_t> cow_size_for(uint64_t more) const;

  // Takes chunks for what this snapshot still needs of the origin's ranges before these change, and
  // says what is to be copied: from the origin to the COW. Where the COW is full, or a commit
  // would fail, `full` says so, and the list ends there. Nothing for an invalid one.
  struct CopyOut {
    std::vector<CopyOp> ops;  // by source, merged where both sides go on
    bool full = false;
  };
  CopyOut prepare_copy_out(std::span<const ByteRange> ranges);
  // Makes the exceptions of prepared copies durable, once their data are in the COW, and then, if
  // `full`, marks the snapshot invalid.
  Result<void> commit_copy_out(const CopyOut& copies);
  // Writes data of chunks to the COW, whose holes stay where these are zeros. Requires and errors as
  // File::write_at.
  Result<void> write_to_cow(uint64_t offset, std::span<const std::byte> data);
  // What was prepared could not be copied: `error` is what every later call returns, and nothing
  // more is committed.
  void abandon(const Error& error);

  // Whether there are exceptions that are not durable yet.
  bool has_pending() const { return !pending_.empty(); }
  // The error that it had, after which it does nothing any more.
  const std::optional<Error>& failure() const { return failure_; }
  bool valid() const { return valid_; }
  bool overflowed() const { return overflowed_; }
  // Whether its exceptions are in memory only (a hand-over does not change that).
  bool transient() const { return transient_; }
  // What a hand-over changes: the store stays, the behaviour when full becomes the new one's.
  void set_kind(StoreKind kind) { kind_ = kind; }
  File& cow() const { return store_->cow(); }
  uint64_t chunk_bytes() const { return chunk_bytes_; }
  ExceptionTable& table() { return table_; }
  // "ALLOCATED/TOTAL METADATA", "Invalid" or "Overflow", as dmsetup status.
  std::string status() const;

 private:
  Snapshot(Image& origin, std::unique_ptr<ExceptionStore> store, const SnapshotOptions& options);
  struct Place;
  Result<Place> locate(uint64_t offset, uint64_t limit) const;
  Result<uint64_t> cow_offset(uint64_t new_chunk, uint64_t in_chunk, uint64_t length) const;
  Result<void> check_usable() const;
  Result<void> remember(Result<void> done);
  Result<void> write_pieces(uint64_t offset, std::span<const std::byte> data);
  // These write the beginning of `data` to chunks without an exception, and return how much: a part
  // of one, or whole ones (all of `data`).
  Result<uint64_t> write_new_part(uint64_t offset, std::span<const std::byte> data);
  Result<uint64_t> write_new_chunks(uint64_t offset, std::span<const std::byte> data);
  Result<void> write_part(uint64_t offset, std::span<const std::byte> data, uint64_t new_chunk);
  Result<void> copy_from_origin(uint64_t offset, uint64_t length, uint64_t cow_offset);
  void add_exception(uint64_t old_chunk, uint64_t new_chunk);
  void new_data_at(uint64_t offset, uint64_t length);
  Result<void> commit();
  // Does what the kind says for a write at `offset` that does not fit, and returns its error.
  Error become_full(uint64_t offset);
  Error full_error(uint64_t offset) const;
  Result<void> invalidate();

  Image& origin_;
  std::unique_ptr<ExceptionStore> store_;
  ExceptionTable table_;
  std::string name_;
  uint64_t size_;
  uint64_t chunk_bytes_;
  StoreKind kind_;
  bool transient_;
  uint64_t in_flight_;
  bool valid_ = true;
  bool overflowed_ = false;
  bool dirty_ = false;            // the COW has data that were not flushed
  uint64_t writeback_start_ = 0;  // new data in the COW that are not on their way to the medium
  uint64_t writeback_end_ = 0;
  std::vector<Exception> pending_;  // their data are written, they are not
  std::optional<Error> failure_;
  ZeroMode cow_zeros_;  // how zeros are written to it
  RawBytes buffer_;
};

}  // namespace snaptool
