// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "libsnap/base/parallel.h"

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
    SNAP_TRY(copy_piece(ops.subspan(piece.first_op), piece.skip, piece.length, lease.bytes(),
                        job.cancel));
    if (seen) seen(i, lease.bytes().first(piece.length));
    job.progress.add(piece.length);
    return {};
  });
}

Result<void> Copier::compare(std::span<const CopyOp> ops, const Job& job) {
  uint64_t largest = 0;
  for (const CopyOp& op : ops) largest = std::max(largest, op.length);
  buffers(largest);
  return parallel_for(ops.size(), job, [&](size_t i) -> Result<void> {
    SNAP_ASSIGN(const auto differs, first_difference(ops[i], job));
    if (!differs) return {};
    return Error(ErrorCode::kIo, fmt::format("'{}' does not read back what was written at byte {}",
                                             target_.name(), ops[i].target + *differs));
  });
}

Result<std::optional<uint64_t>> Copier::first_difference(const CopyOp& op, const Job& job) {
  BufferPool::Lease source_lease(*buffers_);
  BufferPool::Lease target_lease(*buffers_);
  for (uint64_t done = 0; done < op.length; done += kIoPiece) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const uint64_t piece = std::min(op.length - done, kIoPiece);
    const auto source = source_lease.bytes().first(piece);
    const auto target = target_lease.bytes().first(piece);
    SNAP_TRY(source_.read_medium(op.source + done, source));
    SNAP_TRY(target_.read_medium(op.target + done, target));
    const auto differs = std::mismatch(source.begin(), source.end(), target.begin()).first;
    if (differs != source.end()) {
      return std::optional<uint64_t>(done + static_cast<uint64_t>(differs - source.begin()));
    }
  }
  return std::optional<uint64_t>();
}

Result<void> Copier::in_place(Result<void> done, const File& file, uint64_t offset,
                              uint64_t length) const {
  if (done || unit_ == 0) return done;
  const uint64_t first = offset / unit_;
  const uint64_t last = (offset + length - 1) / unit_;
  return std::move(done).error().with_context(
      first == last ? fmt::format("chunk {} of '{}'", first, file.name())
                    : fmt::format("chunks {} to {} of '{}'", first, last, file.name()));
}

Result<void> Copier::copy_piece(std::span<const CopyOp> ops, uint64_t skip, uint64_t length,
                                std::span<std::byte> buffer, const Cancel& cancel) {
  uint64_t filled = 0;          // bytes of the buffer read so far
  uint64_t written = 0;         // of these, bytes written so far
  uint64_t written_target = 0;  // where buffer[written] belongs
  uint64_t source_start = 0;    // the read that is being gathered: where it begins,
  uint64_t gathered = 0;        // and how long it is (it belongs behind `filled`)

  // A piece may be thousands of places of a slow disk, so a request to stop is looked at at each.
  const auto read_gathered = [&]() -> Result<void> {
    if (gathered == 0) return {};
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(in_place(source_.read_at(source_start, buffer.subspan(filled, gathered)), source_,
                      source_start, gathered));
    filled += gathered;
    gathered = 0;
    return {};
  };
  const auto write_filled = [&]() -> Result<void> {
    if (filled == written) return {};
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_TRY(in_place(target_.write_at(written_target, buffer.subspan(written, filled - written)),
                      target_, written_target, filled - written));
    written = filled;
    return {};
  };

  for (size_t i = 0; length > 0; ++i, skip = 0) {
    const uint64_t take = std::min(ops[i].length - skip, length);
    const uint64_t source = ops[i].source + skip;
    const uint64_t target = ops[i].target + skip;
    length -= take;
    const bool extends_write = target == written_target + (filled + gathered - written);
    if (gathered > 0 && (!extends_write || source != source_start + gathered)) {
      SNAP_TRY(read_gathered());
    }
    if (!extends_write || filled + gathered == written) {
      SNAP_TRY(write_filled());
      written_target = target;
    }
    if (gathered == 0) source_start = source;
    gathered += take;
  }
  SNAP_TRY(read_gathered());
  return write_filled();
}

}  // namespace snaptool
