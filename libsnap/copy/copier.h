// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/extent_map.h"
#include "libsnap/io/file.h"

namespace snaptool {

// Bytes to copy from one file to another.
struct CopyOp {
  uint64_t source = 0;  // offset in the source, bytes
  uint64_t target = 0;  // offset in the target, bytes
  uint64_t length = 0;  // bytes
};

// Copies ranges between two files in pieces of at most kIoPiece, from job.jobs threads: one piece
// gathers as many ops as fit, and writes what lies side by side in the target at once.
//
// Long holes of the source, and chunks of it that are zeros, are not copied: where the target has a
// hole they leave it, and elsewhere they zero it. Where the file system can, long runs share the
// source's blocks.
class Copier {
 public:
  // A chunk is `chunk_bytes`; errors of copy name the place in chunks. (0: there are none; errors
  // name no place.) `zeros`: how the target is zeroed.
  Copier(File& source, File& target, uint64_t chunk_bytes, ZeroMode zeros)
      : source_(source),
        target_(target),
        chunk_bytes_(chunk_bytes),
        zeros_(zeros),
        source_map_(source) {}

  // A hint that these bytes of the source will be copied.
  void will_need(uint64_t offset, uint64_t length);

  // Requires: ops are sorted by target and do not overlap there; the ranges lie within both files.
  // Adds the bytes to job.progress. Errors: those of File, with the failing side named;
  // kInterrupted. Crash: any subset of the target's sectors is new; the rest is old. Nothing is
  // flushed.
  // Requires: the source stays as it is.
  // `seen`, if given, gets each piece as it was read: piece i is the bytes from i * kIoPiece on of
  // all ops one after the other. It is called from several threads at once; no blocks are shared
  // then, since they would not be read.
  using PieceVisitor = std::function<void(size_t piece, std::span<const std::byte> bytes)>;
  Result<void> copy(std::span<const CopyOp> ops, const Job& job, const PieceVisitor& seen = {});

  // Reads the same ranges of both files again, past the page cache, and compares them.
  // Requires: both files were flushed since they were written.
  // Errors: kIo, with the piece, where the target is not what the source is; those of File;
  // kInterrupted.
  Result<void> compare(std::span<const CopyOp> ops, const Job& job);

 private:
  class PieceCopy;
  // The error of a failed read or write, with the place in units before it.
  Result<void> in_place(Result<void> done, const File& file, uint64_t offset,
                        uint64_t length) const;
  Result<ExtentMap::Run> source_run(uint64_t offset, uint64_t limit);
  Result<void> copy_piece(std::span<const CopyOp> ops, uint64_t skip, uint64_t length,
                          bool may_share, std::span<std::byte> buffer, const Cancel& cancel);

  // Whether the target now has the source's blocks.
  Result<bool> share(uint64_t source, uint64_t target, uint64_t length);
  // Writes the bytes, but for chunks of zeros.
  Result<void> write(uint64_t target, std::span<const std::byte> bytes);
  Result<void> zero(uint64_t target, uint64_t length);

  // Buffers for pieces of up to so many bytes: small ones where there is little to copy.
  BufferPool& buffers(uint64_t largest);

  File& source_;
  File& target_;
  uint64_t chunk_bytes_;
  ZeroMode zeros_;
  ExtentMap source_map_;
  std::optional<BufferPool> buffers_;
};

}  // namespace snaptool
