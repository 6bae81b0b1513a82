// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "libsnap/base/sha256.h"
#include "libsnap/copy/copier.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

// The undo file of a merge: for each batch the entries that it clears and the bytes of the origin
// that it overwrites, durable before it overwrites them. libsnap/snap/merge/UNDO.md has the format.
//
// Records are only ever appended, and a record counts only if all of it is there: a power cut while
// one is written leaves a file that ends before it.
class UndoJournal {
 public:
  // Which merge it belongs to.
  struct Shape {
    uint64_t chunk_sectors = 0;
    uint64_t origin_size = 0;  // bytes
    uint64_t cow_size = 0;     // bytes
    uint64_t exceptions = 0;   // in the list when the merge began
    bool operator==(const Shape&) const = default;
  };
  enum class State {
    kMerging,   // batches may follow
    kFinished,  // the merge is done
    kUndoing,   // the undoing has begun
  };
  // One batch of the merge: entries [first_entry, first_entry + entry_count) of the list.
  struct Batch {
    uint64_t position = 0;  // bytes into the file
    uint64_t first_entry = 0;
    uint64_t entry_count = 0;
    uint64_t range_count = 0;
    uint64_t data_bytes = 0;
    // Where the old bytes are: all ranges one behind the other.
    uint64_t data_position() const;
    uint64_t end() const;
    uint64_t piece_count() const;
  };
  struct Tables {
    std::vector<Exception> entries;      // in the list's order
    std::vector<CopyOp> ranges;          // COW to origin, sorted by target
    std::vector<Sha256::Digest> pieces;  // of each kIoPiece of the old bytes
  };
  static constexpr uint64_t kMaxEntries = kMiB;  // in a batch

  // Whether there is nothing in the file yet (a power cut right after its creation leaves zeros).
  static Result<bool> is_blank(File& file);
  // Begins one. Requires: `file` is blank and outlives this. Durable when it returns.
  static Result<UndoJournal> create(File& file, const Shape& shape);
  // Reads what is there. What stands behind the last whole record is ignored, and overwritten by
  // the next. Memory: some words a batch. Errors: kCorruption when it is no undo file.
  static Result<UndoJournal> open(File& file, const Job& job);

  const std::string& name() const { return file_->name(); }
  File& file() const { return *file_; }
  const Shape& shape() const { return shape_; }
  State state() const { return state_; }
  const std::vector<Batch>& batches() const { return batches_; }
  // Entries from here on are in the journal.
  uint64_t first_entry() const {
    return batches_.empty() ? shape_.exceptions : batches_.back().first_entry;
  }
  // Of a finished merge: ends_of the origin.
  const Sha256::Digest& ends() const { return ends_; }

  // Adds a batch: `entries` end where the last batch began; the origin's bytes are read from the
  // targets of `ranges`. Requires: state() is kMerging. Durable when it returns.
  // Errors: those of both files. Crash: the record counts or it does not.
  Result<void> append(std::span<const Exception> entries, std::span<const CopyOp> ranges,
                      File& origin, const Job& job);
  // Says that the merge is done, and what the origin's ends were then.
  Result<void> finish(const Sha256::Digest& ends);
  // Says that the undoing begins.
  Result<void> begin_undo();

  // Errors: kCorruption when they are not what was written.
  Result<Tables> read_tables(const Batch& batch);
  // Old bytes of piece `piece` of the batch; `out` is at least kIoPiece. Returns the part in use.
  // Errors: as read_tables. May be called from several threads.
  Result<std::span<std::byte>> read_piece(const Batch& batch, const Tables& tables, uint64_t piece,
                                          std::span<std::byte> out) const;

  // The SHA-256 of a file's first and last MiB: whoever uses a disk after a merge changes these.
  static Result<Sha256::Digest> ends_of(File& origin);

 private:
  enum class Kind : uint64_t { kBatch = 1, kFinished = 2, kUndoing = 3 };
  struct Preamble;

  explicit UndoJournal(File& file) : file_(&file) {}
  Result<void> write_preamble(uint64_t position, const Preamble& preamble);
  Result<std::optional<Preamble>> read_preamble(uint64_t position);
  Result<void> append_mark(Kind kind, const Sha256::Digest& digest);
  Result<bool> is_whole(const Batch& batch, const Job& job);
  Result<std::optional<Tables>> try_read_tables(const Batch& batch);

  File* file_;
  Shape shape_;
  State state_ = State::kMerging;
  std::vector<Batch> batches_;
  std::vector<Sha256::Digest> table_digests_;  // of each batch
  Sha256::Digest ends_{};
  uint64_t records_ = 0;
  uint64_t end_ = 0;  // of the last whole record
};

}  // namespace snaptool
