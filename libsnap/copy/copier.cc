// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "libsnap/base/parallel.h"
#include "libsnap/copy/medium_sums.h"

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
