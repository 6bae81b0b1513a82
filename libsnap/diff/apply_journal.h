// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "libsnap/base/sha256.h"
#include "libsnap/io/file.h"

namespace snaptool {

// How far an apply in place is: windows before `begin` are done and durable, those in [begin, end)
// may be anything between old and new, the others are old.
struct ApplyProgress {
  uint64_t begin = 0;
  uint64_t end = 0;
  static ApplyProgress finished() { return {UINT64_MAX, UINT64_MAX}; }
  bool is_finished() const { return begin == UINT64_MAX; }
};

// The file beside an image that says so, durable before a window is written. The new content itself
// is in the diff, which the command line makes durable first. libsnap/diff/APPLY.md has its bytes.
class ApplyJournal {
 public:
  static constexpr uint64_t kFileSize = 8192;  // bytes

  // Which apply it belongs to, and to what.
  struct Identity {
    Sha256::Digest chain{};  // of the diffs
    uint64_t base_size = 0;  // bytes
    uint64_t final_size = 0;
    Sha256::Digest untouched{};  // of the image, where the diffs do not change it
    FileId file;                 // that it is in (of a view, the COW); zeros where that is none
    uint64_t born = 0;           // when that was made, ns since 1970; 0 where nobody knows
    // Device numbers change from one boot to the next, and inode numbers are used again.
    bool same_file(const Identity& other) const {
      return file.inode == other.file.inode && born == other.born;
    }
    bool same_diffs(const Identity& other) const {
      return chain == other.chain && base_size == other.base_size && final_size == other.final_size;
    }
  };

  // Begins one; what `file` had before is dropped. Requires: it outlives this. Nothing is durable
  // yet.
  static Result<ApplyJournal> create(File& file, const Identity& identity);
  // Reads one; nothing when no apply had begun by it (a crash while it was made), or it is
  // finished. Errors: kCorruption when it is something else.
  static Result<std::optional<ApplyJournal>> open(File& file);

  const Identity& identity() const { return identity_; }
  const ApplyProgress& progress() const { return progress_; }
  // Durable when it returns. Crash: what it said before, or this.
  Result<void> set(const ApplyProgress& progress);

 private:
  ApplyJournal(File& file, const Identity& identity) : file_(&file), identity_(identity) {}

  File* file_;
  Identity identity_;
  ApplyProgress progress_;
  uint64_t sequence_ = 0;
};

}  // namespace snaptool
