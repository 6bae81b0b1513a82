// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/copy_mapped.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/parallel.h"
#include "libsnap/base/printable.h"
#include "libsnap/diff/content_hash.h"

namespace snaptool::ops {
namespace {

// Of shorter ranges, several are hashed at once; longer ones each read ahead.
constexpr uint64_t kLongRange = 64 * kMiB;
// So much is sent on its way to the medium at once.
constexpr uint64_t kWritebackStep = 64 * kMiB;

Error not_as_mapped(const Image& source, const std::string& what) {
  return {ErrorCode::kCorruption, fmt::format("'{}' is not the image of the block map: {}",
                                              excerpt(source.name(), kMostOfName), what)};
}

// `sum`: in hex, of the range.
Result<void> compare_sum(const Image& source, const BlockMap& map, const BlockMap::Range& range,
                         std::string_view sum) {
  if (sum == hex_of(std::as_bytes(std::span(range.sum)))) return {};
  return not_as_mapped(
      source, fmt::format("{} bytes from byte {} on have another {}", range.length, range.offset,
                          map.algorithm ? hash_name(*map.algorithm) : "sum"));
}

Result<void> check_length(const Image& source, const BlockMap& map) {
  if (source.size() >= map.image_size) return {};
  return not_as_mapped(source,
                       fmt::format("it has {} bytes, not {}", source.size(), map.image_size));
}

// Whether what is behind the end of the mapped image is zeros.
Result<void> check_tail(Image& source, const BlockMap& map, const Job& job) {
  RawBytes buffer(kIoPiece);
  for (uint64_t at = map.image_size; at < source.size();) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Extent extent, source.extent_at(at, source.size() - at));
    if (extent.zero) {
      at += extent.length;
      continue;
    }
    const auto piece = std::span(buffer).first(std::min<uint64_t>(kIoPiece, extent.length));
    SNAP_TRY(source.read_at(at, piece));
    if (!is_all_zero(piece)) {
      return not_as_mapped(
          source, fmt::format("it has more than the {} bytes that the map covers", map.image_size));
    }
    at += piece.size();
  }
  return {};
}

// A range without a sum is read all the same: what cannot be read is found before a copy begins.
Result<void> check_range(Image& source, const BlockMap& map, const BlockMap::Range& range,
                         const Job& job) {
  const HashAlgorithm algorithm = map.algorithm.value_or(HashAlgorithm::kSha256);
  SNAP_ASSIGN(const auto sums, hash_range(source, range.offset, range.length, {algorithm}, job));
  return range.sum.empty() ? Result<void>() : compare_sum(source, map, range, sums.front());
}

// The mapped pieces on their way: taken in order, read, hashed in order, written.
class MappedCopy {
 public:
  MappedCopy(Image& source, const BlockMap& map, File& target, const Job& job)
      : source_(source), map_(map), target_(target), job_(job) {
    slots_.resize(size_t{job.jobs} * kSlotsPerThread);
    for (Piece& piece : slots_) piece.buffer = make_page_buffer(kIoPiece);
  }

  Result<void> run() {
    const OrderedSteps steps{[this](size_t slot) { return take(slots_[slot]); },
                             [this](size_t slot) { return read(slots_[slot]); },
                             [this](size_t slot) { return hash(slots_[slot]); },
                             [this](size_t slot) { return write(slots_[slot]); }};
    SNAP_TRY(parallel_ordered(slots_.size(), job_, steps));
    if (map_.ranges.empty()) return {};
    const BlockMap::Range& last = map_.ranges.back();
    target_.start_writeback(started_, last.offset + last.length - started_);
    return {};
  }

 private:
  struct Piece {
    const BlockMap::Range* range = nullptr;
    uint64_t offset = 0;  // bytes
    uint64_t length = 0;  // bytes, at most kIoPiece
    PageBuffer buffer;
    std::span<std::byte> bytes() const { return {buffer.get(), length}; }
  };

  bool take(Piece& piece) {
    if (next_ == map_.ranges.size()) return false;
    const BlockMap::Range& range = map_.ranges[next_];
    piece.range = &range;
    piece.offset = range.offset + taken_;
    piece.length = std::min(kIoPiece, range.length - taken_);
    taken_ += piece.length;
    if (taken_ == range.length) {
      ++next_;
      taken_ = 0;
    }
    // The last pieces may still be on their way: these are left for the flush.
    if (piece.offset - started_ >= kWritebackStep) {
      target_.start_writeback(started_, piece.offset - started_);
      started_ = piece.offset;
    }
    return true;
  }

  Result<void> read(Piece& piece) { return source_.read_at(piece.offset, piece.bytes()); }

  Result<void> hash(Piece& piece) {
    const BlockMap::Range& range = *piece.range;
    if (range.sum.empty()) return {};
    SNAP_CHECK(map_.algorithm.has_value());
    if (piece.offset == range.offset) hash_.emplace(*map_.algorithm);
    hash_->update(piece.bytes());
    if (piece.offset + piece.length < range.offset + range.length) return {};
    return compare_sum(source_, map_, range, hash_->finish());
  }

  Result<void> write(Piece& piece) {
    SNAP_TRY(target_.write_at(piece.offset, piece.bytes()));
    job_.progress.add(piece.length);
    return {};
  }

  Image& source_;
  const BlockMap& map_;
  File& target_;
  const Job& job_;
  std::vector<Piece> slots_;
  size_t next_ = 0;           // the range that is taken from
  uint64_t taken_ = 0;        // bytes of it
  uint64_t started_ = 0;      // what is below is on its way to the medium
  std::optional<Hash> hash_;  // of the range that is hashed
};

}  // namespace

Result<void> check_mapped(Image& source, const BlockMap& map, const Job& job) {
  SNAP_TRY(check_length(source, map));
  SNAP_TRY(check_tail(source, map, job));
  const Job alone{job.progress, job.cancel, 1};
  SNAP_TRY(parallel_for(map.ranges.size(), job, [&](size_t i) -> Result<void> {
    const BlockMap::Range& range = map.ranges[i];
    return range.length > kLongRange ? Result<void>() : check_range(source, map, range, alone);
  }));
  for (const BlockMap::Range& range : map.ranges) {
    if (range.length > kLongRange) SNAP_TRY(check_range(source, map, range, job));
  }
  return {};
}

Result<void> copy_mapped(Image& source, const BlockMap& map, File& target, const Job& job) {
  SNAP_CHECK(target.size() >= map.image_size);
  SNAP_TRY(check_length(source, map));
  return MappedCopy(source, map, target, job).run();
}

}  // namespace snaptool::ops
