// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool {

// Which origin chunks have an exception, for look-ups by old chunk. Kept in runs (consecutive old
// and new chunks), 16 bytes a run.
class ExceptionTable {
  static constexpr unsigned kChunkBits = 54;  // 2^63 bytes in chunks of 512
  static constexpr uint64_t kMaxRun = uint64_t{1} << 20;
  static constexpr uint64_t kUnreachable = (uint64_t{1} << kChunkBits) - 1;  // no file is that long

 public:
  ExceptionTable() = default;  // empty: every look-up finds nothing

  // Reads the whole list. Where entries contradict each other, the first in list order wins, as in
  // the kernel. An entry beyond any possible origin (old chunk of 2^54 or more) is never visible,
  // and left out. Memory: 16 bytes a run; for a store with duplicates, 24 more while it is read.
  // Errors: kCorruption on a new chunk of 2^56 or more, which the kernel would read as a run; those
  // of read_metadata.
  // Entries for chunks from `end_chunk` on are left out, and cost nothing.
  static Result<ExceptionTable> load(PersistentStore& store, const Cancel& cancel,
                                     uint64_t end_chunk = kUnreachable);

  struct Found {
    bool mapped = false;
    uint64_t new_chunk = 0;  // if mapped
    uint64_t length = 0;     // chunks from here on of which the same can be said
  };
  // What chunk `old_chunk` and those behind it map to. An unmapped stretch ends at the next run, or
  // never (UINT64_MAX - old_chunk).
  Found find(uint64_t old_chunk) const;

  // Adds an exception. Requires: `old_chunk` has none, and both lie below 2^54 - 1. Amortised
  // logarithmic.
  void insert(uint64_t old_chunk, uint64_t new_chunk);

  // Calls with every run, in the order of old chunks: its first old and new chunk, its length.
  void visit(const std::function<void(uint64_t, uint64_t, uint64_t)>& visitor);

  size_t runs() const { return runs_.size() + added_.size(); }

 private:
  struct Run {
    uint64_t old_chunk : kChunkBits;
    uint64_t length_low : 10;  // of length - 1
    uint64_t new_chunk : kChunkBits;
    uint64_t length_high : 10;
    uint64_t length() const { return (length_high << 10 | length_low) + 1; }
    uint64_t end() const { return old_chunk + length(); }
  };
  static_assert(sizeof(Run) == 16);
  static Run make_run(uint64_t old_chunk, uint64_t new_chunk, uint64_t length);

  static Result<void> visit_runs(PersistentStore& store, const Cancel& cancel, uint64_t end_chunk,
                                 const std::function<void(const Run&)>& visit);
  static Result<std::vector<Run>> resolve_duplicates(PersistentStore& store, const Cancel& cancel,
                                                     uint64_t end_chunk);

  Found find_in_runs(uint64_t old_chunk) const;
  void settle_added();

  std::vector<Run> runs_;          // by old_chunk, not overlapping
  std::map<uint64_t, Run> added_;  // by old_chunk: not yet sorted into runs_, overlapping none
};

}  // namespace snaptool
