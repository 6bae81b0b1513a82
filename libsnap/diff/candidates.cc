// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/candidates.h"

#include <algorithm>

namespace snaptool {
namespace {

// An extent of one image; behind its end, a hole.
Result<Extent> extent_of(Image& image, uint64_t at, uint64_t end) {
  if (at >= image.size()) return Extent{end - at, true, 0, nullptr, 0};
  return image.extent_at(at, std::min(end, image.size()) - at);
}

}  // namespace

// How many of `length` bytes from there on are the same in both, since they are the same bytes on
// disk; 0 where they are not. `length` becomes what this is known of.
uint64_t CandidateScan::same_storage(const Extent& a, const Extent& b, uint64_t& length) {
  if (a.file == nullptr || b.file == nullptr || !a.file_offset || !b.file_offset) return 0;
  const auto id_a = a.file->id();
  const auto id_b = b.file->id();
  if (a.file == b.file || (id_a && id_a == id_b)) {
    return a.file_offset == b.file_offset ? length : 0;
  }
  if (!id_a || !id_b || id_a->device != id_b->device || id_a->device == 0) return 0;
  const SharedExtent shared_a = a.file->shared_at(*a.file_offset, length);
  if (!shared_a.physical) {
    length = shared_a.length;
    return 0;
  }
  const SharedExtent shared_b = b.file->shared_at(*b.file_offset, shared_a.length);
  length = std::min(shared_a.length, shared_b.length);
  return shared_a.physical == shared_b.physical ? length : 0;
}

Result<std::optional<Candidate>> CandidateScan::next(uint64_t most, const Job& job) {
  while (at_ < end_) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    uint64_t end = end_;
    if (limit_ != nullptr && at_ < limit_->size()) {
      SNAP_ASSIGN(const Extent extent, extent_of(*limit_, at_, end_));
      end = at_ + extent.length;
      if (extent.depth > 0) {
        job.progress.skip(extent.length);
        at_ = end;
        continue;
      }
    }
    SNAP_ASSIGN(const Extent a, extent_of(a_, at_, end));
    SNAP_ASSIGN(const Extent b, extent_of(b_, at_, end));
    uint64_t length = std::min(a.length, b.length);
    uint64_t skipped = 0;
    if (a.zero && b.zero) {
      skipped = length;
      hole_bytes_ += length;
    } else if (!a.zero && !b.zero) {
      skipped = same_storage(a, b, length);
      same_storage_bytes_ += skipped;
    }
    if (skipped > 0) {
      job.progress.skip(skipped);
      at_ += skipped;
      continue;
    }
    const Candidate found{at_, std::min(length, most), a.zero, b.zero};
    at_ += found.length;
    return std::optional(found);
  }
  return std::optional<Candidate>();
}

}  // namespace snaptool
