// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "libsnap/base/parallel.h"
#include "libsnap/copy/medium_sums.h"
#include "libsnap/io/zero_runs.h"

namespace snaptool {
namespace {

// One task of a copy: `length` bytes of the ops from `first_op` on, of which the first `skip` bytes
// belong to the task before.
struct Piece {
  size_t first_op = 0;
  uint64_t skip = 0;
  uint64_t length = 0;
};

// Cuts the ops into pieces of kIoPiece bytes each; only the last is shorter.
std::vector<Piece> cut(std::span<const CopyOp> ops) {
  std::vector<Piece> pieces;
  Piece piece;
  for (size_t i = 0; i < ops.size(); ++i) {
    uint64_t done = 0;
    while (done < ops[i].length) {
      if (piece.length == 0) piece = {i, done, 0};
      const uint64_t take = std::min(ops[i].length - done, kIoPiece - piece.length);
      piece.length += take;
      done += take;
      if (piece.length == kIoPiece) {
        pieces.push_back(piece);
        piece = {};
      }
    }
  }
  if (piece.length > 0) pieces.push_back(piece);
  return pieces;
}

}  // namespace

BufferPool& Copier::buffers(uint64_t largest) {
  const size_t size = std::min<uint64_t>(kIoPiece, largest);
  if (!buffers_ || buffers_->size() < size) buffers_.emplace(size);
  return *buffers_;
}

Result<void> Copier::copy(std::span<const CopyOp> ops, const Job& job, const PieceVisitor& seen) {
  const std::vector<Piece> pieces = cut(ops);
  uint64_t largest = 0;
  for (const Piece& piece : pieces) largest = std::max(largest, piece.length);
  BufferPool& pool = buffers(largest);
  return parallel_for(pieces.size(), job, [&](size_t i) -> Result<void> {
    BufferPool::Lease lease(pool);
    const Piece& piece = pieces[i];
    SNAP_TRY(copy_piece(ops.subspan(piece.first_op), piece.skip, piece.length, !seen, lease.bytes(),
                        job.cancel));
    if (seen) seen(i, lease.bytes().first(piece.length));
    job.progress.add(piece.length);
    return {};
  });
}

Result<void> Copier::compare(std::span<const CopyOp> ops, const Job& job) {
  constexpr size_t kPlaces = 32768;  // at a time: some 5 MiB of sums
  std::vector<ByteRange> sources;
  std::vector<ByteRange> targets;
  const auto compare_gathered = [&]() -> Result<void> {
    SNAP_ASSIGN(const auto expected, medium_sums(source_, sources, job));
    SNAP_ASSIGN(const auto found, medium_sums(target_, targets, job));
    const auto differs = std::mismatch(found.begin(), found.end(), expected.begin()).first;
    if (differs != found.end()) {
      const auto place = static_cast<size_t>(differs - found.begin());
      return Error(ErrorCode::kIo, fmt::format("'{}' does not read back what was written at byte "
                                               "{}",
                                               target_.name(), targets[place].offset));
    }
    sources.clear();
    targets.clear();
    return {};
  };
  for (const CopyOp& op : ops) {
    for (uint64_t done = 0; done < op.length; done += kIoPiece) {
      const uint64_t piece = std::min(op.length - done, kIoPiece);
      sources.push_back({op.source + done, piece});
      targets.push_back({op.target + done, piece});
      if (targets.size() == kPlaces) SNAP_TRY(compare_gathered());
    }
  }
  return compare_gathered();
}

Result<void> Copier::in_place(Result<void> done, const File& file, uint64_t offset,
                              uint64_t length) const {
  if (done || chunk_bytes_ == 0) return done;
  const uint64_t first = offset / chunk_bytes_;
  const uint64_t last = (offset + length - 1) / chunk_bytes_;
  return std::move(done).error().with_context(
      first == last ? fmt::format("chunk {} of '{}'", first, file.name())
                    : fmt::format("chunks {} to {} of '{}'", first, last, file.name()));
}

void Copier::will_need(uint64_t offset, uint64_t length) {
  while (length > 0) {
    const auto run = source_run(offset, length);
    if (!run) return;  // it is told when it is copied
    if (!run->hole) source_.will_need(offset, run->length);
    offset += run->length;
    length -= run->length;
  }
}

Result<ExtentMap::Run> Copier::source_run(uint64_t offset, uint64_t limit) {
  constexpr uint64_t kWorthAsking = 64 * kKiB;
  if (limit < kWorthAsking) return ExtentMap::Run{limit, false};
  return source_map_.run_at(offset, limit);
}

Result<void> Copier::zero(uint64_t target, uint64_t length) {
  return in_place(zero_outside_holes(target_, target, length, zeros_), target_, target, length);
}

Result<bool> Copier::share(uint64_t source, uint64_t target, uint64_t length) {
  SNAP_ASSIGN(const Extent extent, source_.extent_at(source, length));
  if (extent.zero || extent.length < length) return false;
  return share_extent(extent, target_, target);
}

Result<void> Copier::write(uint64_t target, std::span<const std::byte> bytes) {
  return visit_zero_runs(
      target, bytes, hole_unit(chunk_bytes_),
      [this](uint64_t offset, std::span<const std::byte> run) {
        return in_place(target_.write_at(offset, run), target_, offset, run.size());
      },
      [this](uint64_t offset, uint64_t length) { return zero(offset, length); });
}

// What a thread has of its piece in a buffer: bytes that were read, and before these those that
// were written already; and the read that is being gathered, whose bytes belong after them.
class Copier::PieceCopy {
 public:
  PieceCopy(Copier& copier, std::span<std::byte> buffer, const Cancel& cancel)
      : copier_(copier), buffer_(buffer), cancel_(cancel) {}

  // Requires: all that is added fits into the buffer; targets ascend.
  Result<void> add(uint64_t source, uint64_t target, uint64_t length) {
    const bool extends_write = target == written_target_ + (filled_ + gathered_ - written_);
    if (gathered_ > 0 && (!extends_write || source != source_start_ + gathered_)) {
      SNAP_TRY(read_gathered());
    }
    if (!extends_write || filled_ + gathered_ == written_) {
      SNAP_TRY(write_filled());
      written_target_ = target;
    }
    if (gathered_ == 0) source_start_ = source;
    gathered_ += length;
    return {};
  }

  Result<void> add_hole(uint64_t target, uint64_t length) {
    SNAP_TRY(finish());
    std::memset(buffer_.data() + filled_, 0, length);  // for who looks at it later
    filled_ += length;
    written_ = filled_;
    return copier_.zero(target, length);
  }

  // Shared, if that can be; else as add.
  Result<void> add_long(uint64_t source, uint64_t target, uint64_t length) {
    SNAP_TRY(finish());
    SNAP_ASSIGN(const bool shared, copier_.share(source, target, length));
    if (!shared) return add(source, target, length);
    filled_ += length;
    written_ = filled_;
    return {};
  }

  Result<void> finish() {
    SNAP_TRY(read_gathered());
    return write_filled();
  }

 private:
  // A piece may be thousands of places of a slow disk, so a request to stop is looked at at each.
  Result<void> read_gathered() {
    if (gathered_ == 0) return {};
    if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const auto bytes = buffer_.subspan(filled_, gathered_);
    SNAP_TRY(copier_.in_place(copier_.source_.read_at(source_start_, bytes), copier_.source_,
                              source_start_, gathered_));
    filled_ += std::exchange(gathered_, 0);
    return {};
  }

  Result<void> write_filled() {
    if (filled_ == written_) return {};
    if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(copier_.write(written_target_, buffer_.subspan(written_, filled_ - written_)));
    written_ = filled_;
    return {};
  }

  Copier& copier_;
  std::span<std::byte> buffer_;
  const Cancel& cancel_;
  uint64_t filled_ = 0;          // bytes of the buffer that were read
  uint64_t written_ = 0;         // of these, bytes that were written
  uint64_t written_target_ = 0;  // where buffer_[written_] belongs
  uint64_t source_start_ = 0;    // of the read that is being gathered
  uint64_t gathered_ = 0;        // its length
};

Result<void> Copier::copy_piece(std::span<const CopyOp> ops, uint64_t skip, uint64_t length,
                                bool may_share, std::span<std::byte> buffer, const Cancel& cancel) {
  PieceCopy copy(*this, buffer, cancel);
  for (size_t i = 0; length > 0; ++i, skip = 0) {
    const uint64_t end = skip + std::min(ops[i].length - skip, length);
    length -= end - skip;
    while (skip < end) {
      SNAP_ASSIGN(const auto run, source_run(ops[i].source + skip, end - skip));
      const bool shares = may_share && run.length >= kWorthSharing && target_.may_share();
      const uint64_t target = ops[i].target + skip;
      SNAP_TRY(run.hole ? copy.add_hole(target, run.length)
               : shares ? copy.add_long(ops[i].source + skip, target, run.length)
                        : copy.add(ops[i].source + skip, target, run.length));
      skip += run.length;
    }
  }
  return copy.finish();
}

}  // namespace snaptool
