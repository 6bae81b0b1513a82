// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"
#include "libsnap/snap/store/defect.h"
#include "libsnap/snap/store/entry_rules.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool {

struct SalvageOptions {
  // Of the store, whatever its header says.
  std::optional<uint64_t> chunk_sectors;
  std::optional<uint64_t> origin_size;  // bytes
  // Take what lies behind the end of the list, too, where it looks like entries of the list. On
  // storage that was in use before it can be what an earlier store left.
  bool beyond_end = false;
};

// A chunk size, and what speaks for it.
struct ChunkSizeGuess {
  uint64_t chunk_sectors = 0;
  uint64_t fitting = 0;  // entries of the first areas, would it be, that the kernel could have made
  uint64_t others = 0;   // and such that it could not
};

// What the first areas look like with each chunk size: those with entries that fit, the most first.
// Errors: kIo.
Result<std::vector<ChunkSizeGuess>> guess_chunk_sizes(File& cow);

// An entry that can be kept.
struct SalvagedEntry {
  uint64_t area = 0;
  uint64_t index = 0;  // in its area
  Exception exception;
  bool data_shared = false;  // an entry before it has the same data chunk
};

// Reads the list of a store that may be damaged: all of its entries that are sound, in the order in
// which the kernel reads them. libsnap/snap/repair/REPAIR.md has the rules. Nothing is written.
class Salvage {
 public:
  enum class ChunkSizeFrom { kHeader, kCaller, kAreas };

  // Requires: `cow` outlives this. Errors: kCorruption when no chunk size can be told, with the
  // candidates; kUnsupported for a store of a 2.4 kernel; kIo.
  static Result<Salvage> open(File& cow, const SalvageOptions& options);

  File& cow() const { return *cow_; }
  const Layout& layout() const { return *layout_; }
  ChunkSizeFrom chunk_size_from() const { return chunk_size_from_; }
  // Candidates, when it was told from the areas.
  const std::vector<ChunkSizeGuess>& guesses() const { return guesses_; }
  // The header says that the snapshot was invalidated.
  bool invalid() const { return invalid_; }
  // What is wrong with the header.
  const std::vector<Finding>& header_findings() const { return header_findings_; }

  // Calls `keep` for every entry that is sound, and `drop` for each that is not. Memory: bounded
  // (about 48 MiB, and 8 bytes a duplicate). May be called again.
  // Errors: those of `keep`; kUnsupported for more than kMostDuplicates; kIo; kInterrupted.
  using Keep = std::function<Result<void>(const SalvagedEntry&)>;
  using Drop = std::function<void(Finding)>;
  Result<void> visit(const Keep& keep, const Drop& drop, const Cancel& cancel);

  static constexpr size_t kMostDuplicates = size_t{1} << 22;

  // After visit: entries behind the end of the list that look like some of the list, as far as was
  // looked; 0 when they were taken.
  uint64_t left_beyond_end() const { return left_beyond_end_; }
  // After visit: entries that were taken although the list ends before them, or an area before
  // them is destroyed.
  uint64_t taken_beyond() const { return taken_beyond_; }

 private:
  struct AreaCounts;
  class Walk;

  explicit Salvage(File& cow, const SalvageOptions& options) : cow_(&cow), options_(options) {}
  Result<void> settle_chunk_size();
  uint64_t cow_chunks() const { return cow_->size() / layout_->chunk_bytes(); }
  Result<void> find_repeats(const Cancel& cancel);

  File* cow_;
  SalvageOptions options_;
  std::optional<Layout> layout_;
  ChunkSizeFrom chunk_size_from_ = ChunkSizeFrom::kHeader;
  std::vector<ChunkSizeGuess> guesses_;
  bool invalid_ = false;
  std::vector<Finding> header_findings_;
  uint64_t left_beyond_end_ = 0;
  uint64_t taken_beyond_ = 0;
  // Which of the entries that a walk gives repeat an old chunk, or a new one; ascending.
  bool repeats_known_ = false;
  std::vector<uint64_t> repeated_old_;
  std::vector<uint64_t> repeated_new_;
};

}  // namespace snaptool
