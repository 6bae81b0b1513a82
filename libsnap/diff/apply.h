// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/base/units.h"
#include "libsnap/diff/apply_journal.h"
#include "libsnap/diff/chain.h"
#include "libsnap/io/image.h"

namespace snaptool {

// What was found out about a chain and an image before anything was written.
struct ChainCheck {
  std::vector<ChangeEnd> ends;  // of each diff
  ChangeTotals totals;          // of all diffs
  uint64_t windows = 0;         // that any of them changes
  uint64_t windows_done = 0;    // that have their new content already
  uint64_t bytes = 0;           // to be written
  // Windows that begin a batch, but for the first: between two flushes a batch is written.
  std::vector<uint64_t> batches;
  std::optional<ContentId> content;  // of what a full chain leads to
  // Whether the image needs at most another size.
  bool is_applied() const { return windows_done == windows; }
};

// Of a whole image, before and after.
struct WholeSums {
  ContentId base_content{};
  ContentId target_content{};
  Sha256::Digest base_sum{};  // if asked for
  Sha256::Digest target_sum{};
};

// How an image takes what is written.
struct ApplyTarget {
  File* file = nullptr;
  // A file that can be resized, and has zeros where it grows; else the image may be smaller than
  // the file, and what the chain adds is zeroed.
  bool resizable = true;
  // It was made for this, and has nothing but what was copied from the base.
  bool fresh = false;
};

struct ApplyOptions {
  uint64_t batch_bytes = 256 * kMiB;  // written between two flushes, about
};

// Applies diffs, one following the other, to an image: each window is read once, and written once.
// libsnap/diff/APPLY.md has the order and what each crash leaves.
class Apply {
 public:
  explicit Apply(Chain chain, const ApplyOptions& options = {})
      : chain_(std::move(chain)), options_(options) {}

  const ChainShape& shape() const { return chain_.shape(); }

  // Reads all diffs and what they change of the base, and writes nothing. With `progress` of an
  // earlier, unfinished run, what that may have left is right, too. Without a base, only the diffs
  // are checked. Progress counts the bytes of the changes. Requires: called once.
  // `size`: how large the base may be. `visit` gets what would be written, in bytes, lowest first,
  // and how.
  // Errors: kCorruption for a damaged diff; kWrongBase, with the place, when the image is not what
  // the first diff expects, or the ids say that one does not follow; those of Image; kInterrupted.
  using RangeVisitor =
      std::function<Result<void>(uint64_t offset, uint64_t length, ChangeKind kind)>;
  enum class BaseSize {
    kExact,    // as the first diff says, or as the chain leaves it
    kAtLeast,  // a device: an image, before or after, is its beginning
  };
  Result<ChainCheck> check(Image* base, BaseSize size, bool resizable,
                           const std::optional<ApplyProgress>& progress, const Job& job,
                           const RangeVisitor& visit = {});

  // Reads all of the base (none in a full chain), and tells what it is and what the chain would
  // make of it; `with_sums`: their SHA-256, too. Writes nothing. Progress counts bytes. Errors:
  // those of the readers and of Image; kInterrupted.
  Result<WholeSums> whole_sums(Image* base, bool resizable, bool with_sums, const Job& job);

  // The first step of write, which may be called before: an image that can be resized gets the
  // size that it will need. Errors: those of File::resize; the image is as it was. Crash: it is as
  // it was, or has zeros behind that, and check takes it so.
  Result<void> grow(const ApplyTarget& target);

  // Writes the changes. Requires: check succeeded, and nobody wrote to any of the files since.
  // With a journal, resumed from where that stands: after a crash the same call, check included,
  // finishes it. Durable when it returns, unless the target is fresh.
  // Errors: those of the readers and of File; kInterrupted.
  Result<void> write(const ApplyTarget& target, const ChainCheck& checked, ApplyJournal* journal,
                     const Job& job);

 private:
  Result<void> write_batch(ChainReader& reader, uint64_t end, const ApplyTarget& target,
                           uint64_t skip_before, const Job& job);

  Chain chain_;
  ApplyOptions options_;
};

}  // namespace snaptool
