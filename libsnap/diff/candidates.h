// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "libsnap/base/progress.h"
#include "libsnap/io/image.h"

namespace snaptool {

// A range in which two images may differ. Where an image is a hole (or ended), it need not be read.
struct Candidate {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool zero_a = false;
  bool zero_b = false;
};

// Goes through two images and leaves out what cannot differ: what both have from the same bytes of
// a file (equal files, an origin below its snapshot, reflinked extents), and holes on both sides.
// Reads no content. Behind the end of an image there is a hole.
class CandidateScan {
 public:
  // Looks at the first `end` bytes. Requires: both images outlive this.
  CandidateScan(Image& a, Image& b, uint64_t end) : a_(a), b_(b), end_(end) {}

  // Leaves out what `limit`'s topmost layer does not supply, too: what the store of a view has no
  // exception for. Requires: it outlives this.
  void limit_to(Image& limit) { limit_ = &limit; }

  // The next one, at most `most` bytes, lowest first; nothing at the end. What is left out is added
  // to job.progress. Errors: those of Image; kInterrupted.
  Result<std::optional<Candidate>> next(uint64_t most, const Job& job);

  uint64_t same_storage_bytes() const { return same_storage_bytes_; }
  uint64_t hole_bytes() const { return hole_bytes_; }

 private:
  static uint64_t same_storage(const Extent& a, const Extent& b, uint64_t& length);

  Image& a_;
  Image& b_;
  Image* limit_ = nullptr;
  uint64_t end_;
  uint64_t at_ = 0;
  uint64_t same_storage_bytes_ = 0;
  uint64_t hole_bytes_ = 0;
};

}  // namespace snaptool
