// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copy_image.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/check.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/parallel.h"

namespace snaptool {
namespace {

// So many bytes are shared out to the threads at once.
constexpr uint64_t kWindow = 64 * kMiB;

// Copies one piece: reads its data extents, writes each run of them at once. Adds it to `progress`.
Result<void> copy_piece(Image& source, uint64_t offset, uint64_t length, File& target,
                        uint64_t target_offset, bool target_zeroed, std::span<std::byte> buffer,
                        Progress& progress) {
  uint64_t run_start = 0;  // of the piece: data in [run_start, at) wait to be written
  const auto write_run = [&](uint64_t at) -> Result<void> {
    if (at == run_start) return {};
    return target.write_at(target_offset + run_start, buffer.subspan(run_start, at - run_start));
  };
  uint64_t at = 0;
  uint64_t holes = 0;
  while (at < length) {
    SNAP_ASSIGN(const Extent extent, source.extent_at(offset + at, length - at));
    if (extent.zero) {
      holes += extent.length;
      SNAP_TRY(write_run(at));
      if (!target_zeroed) {
        SNAP_TRY(target.zero_at(target_offset + at, extent.length, ZeroMode::kKeep));
      }
      at += extent.length;
      run_start = at;
      continue;
    }
    if (extent.length >= kWorthSharing && share_extent(extent, target, target_offset + at)) {
      SNAP_TRY(write_run(at));
      at += extent.length;
      run_start = at;
      continue;
    }
    SNAP_TRY(source.read_at(offset + at, buffer.subspan(at, extent.length)));
    at += extent.length;
  }
  SNAP_TRY(write_run(at));
  progress.skip(holes);
  progress.add(length - holes);
  return {};
}

}  // namespace

Result<void> copy_image(Image& source, uint64_t offset, uint64_t length, File& target,
                        bool target_zeroed, const Job& job) {
  SNAP_CHECK(offset <= source.size() && length <= source.size() - offset);
  SNAP_CHECK(length <= target.size());
  BufferPool buffers;
  uint64_t at = 0;
  while (at < length) {
    // A long hole is one step, however long.
    SNAP_ASSIGN(const Extent extent, source.extent_at(offset + at, length - at));
    if (extent.zero && (extent.length >= kIoPiece || extent.length == length - at)) {
      if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      if (!target_zeroed) SNAP_TRY(target.zero_at(at, extent.length, ZeroMode::kKeep));
      job.progress.skip(extent.length);
      at += extent.length;
      continue;
    }
    const uint64_t window = std::min(kWindow, length - at);
    SNAP_TRY(parallel_for(div_round_up(window, kIoPiece), job, [&](size_t i) -> Result<void> {
      const uint64_t start = at + i * kIoPiece;
      const uint64_t piece = std::min(kIoPiece, at + window - start);
      BufferPool::Lease lease(buffers);
      SNAP_TRY(copy_piece(source, offset + start, piece, target, start, target_zeroed,
                          lease.bytes(), job.progress));
      return {};
    }));
    target.start_writeback(at, window);
    at += window;
  }
  return {};
}

Result<void> stream_image(Image& source, uint64_t offset, uint64_t length,
                          const std::function<Result<void>(std::span<const std::byte>)>& sink,
                          const Job& job) {
  SNAP_CHECK(offset <= source.size() && length <= source.size() - offset);
  RawBytes buffer(kIoPiece);
  while (length > 0) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const uint64_t piece = std::min(length, kIoPiece);
    const auto bytes = std::span(buffer).first(piece);
    SNAP_ASSIGN(const Extent extent, source.extent_at(offset, piece));
    if (extent.zero && extent.length == piece) {
      std::memset(buffer.data(), 0, piece);
    } else {
      SNAP_TRY(source.read_at(offset, bytes));
    }
    SNAP_TRY(sink(bytes));
    job.progress.add(piece);
    offset += piece;
    length -= piece;
  }
  return {};
}

}  // namespace snaptool
