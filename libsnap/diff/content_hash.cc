// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/content_hash.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/parallel.h"
#include "libsnap/copy/buffer_pool.h"

namespace snaptool {
namespace {

constexpr uint64_t kWindow = 8 * kMiB;       // of hash_range: read while the one before is hashed
constexpr uint64_t kHashPiece = 128 * kKiB;  // of hash_blocks: stays in a core's cache
constexpr size_t kBlocks = 1024;             // whose sums wait to be visited

const std::vector<std::byte>& zeros() {
  static const std::vector<std::byte> zeros(kHashPiece);
  return zeros;
}

Result<bool> is_hole(Image& image, uint64_t offset, uint64_t length) {
  while (length > 0) {
    SNAP_ASSIGN(const ImageExtent extent, image.extent_at(offset, length));
    if (!extent.zero) return false;
    offset += extent.length;
    length -= extent.length;
  }
  return true;
}

// Reads the range, but for its holes.
Result<void> read_sparse(Image& image, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    SNAP_ASSIGN(const ImageExtent extent, image.extent_at(offset, out.size()));
    const auto piece = out.first(extent.length);
    if (extent.zero) {
      std::memset(piece.data(), 0, piece.size());
    } else {
      SNAP_TRY(image.read_at(offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

std::vector<std::string> finish(std::vector<Hash>& hashes) {
  std::vector<std::string> sums;
  sums.reserve(hashes.size());
  for (Hash& hash : hashes) sums.push_back(hash.finish());
  return sums;
}

std::vector<Hash> start(const std::vector<HashAlgorithm>& algorithms) {
  std::vector<Hash> hashes;
  hashes.reserve(algorithms.size());
  for (const HashAlgorithm algorithm : algorithms) hashes.emplace_back(algorithm);
  return hashes;
}

class BlockHasher {
 public:
  BlockHasher(Image& image, const std::vector<HashAlgorithm>& algorithms, const Job& job)
      : image_(image), algorithms_(algorithms), job_(job) {}

  Result<void> hash(BlockHash& block) {
    SNAP_ASSIGN(const bool hole, is_hole(image_, block.offset, block.length));
    if (hole) {
      SNAP_ASSIGN(block.sums, sums_of_zeros(block.length));
    } else {
      std::vector<Hash> hashes = start(algorithms_);
      BufferPool::Lease lease(buffers_);
      for (uint64_t done = 0; done < block.length;) {
        if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
        const auto piece = lease.bytes().first(std::min(kHashPiece, block.length - done));
        SNAP_TRY(read_sparse(image_, block.offset + done, piece));
        for (Hash& one : hashes) one.update(piece);
        done += piece.size();
      }
      block.sums = finish(hashes);
    }
    job_.progress.add(block.length);
    return {};
  }

 private:
  // Two lengths at most: that of a block, and that of the last.
  Result<std::vector<std::string>> sums_of_zeros(uint64_t length) {
    const std::lock_guard lock(mutex_);
    auto& sums = of_zeros_[length];
    if (!sums.empty()) return sums;
    std::vector<Hash> hashes = start(algorithms_);
    for (uint64_t done = 0; done < length;) {
      if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const auto piece = std::span(zeros()).first(std::min(kHashPiece, length - done));
      for (Hash& one : hashes) one.update(piece);
      done += piece.size();
    }
    sums = finish(hashes);
    return sums;
  }

  Image& image_;
  const std::vector<HashAlgorithm>& algorithms_;
  const Job& job_;
  BufferPool buffers_;
  std::mutex mutex_;
  std::map<uint64_t, std::vector<std::string>> of_zeros_;  // by length; guarded by mutex_
};

}  // namespace

Result<std::vector<std::string>> hash_range(Image& image, uint64_t offset, uint64_t length,
                                            const std::vector<HashAlgorithm>& algorithms,
                                            const Job& job) {
  SNAP_CHECK(offset <= image.size() && length <= image.size() - offset);
  std::vector<Hash> hashes = start(algorithms);
  // The first task reads the next window, the others hash the one before.
  IoBytes current;
  IoBytes next(std::min(kWindow, length));
  uint64_t read = 0;
  while (true) {
    const auto window = std::span(next).first(std::min<uint64_t>(next.size(), length - read));
    const bool first = current.empty();
    if (first && window.empty()) break;
    const auto work = [&](size_t i) -> Result<void> {
      if (i == 0) return read_sparse(image, offset + read, window);
      hashes[i - 1].update(current);
      return {};
    };
    const size_t tasks = first ? 1 : 1 + hashes.size();
    SNAP_TRY(parallel_for(tasks, {job.progress, job.cancel, job.jobs}, work));
    job.progress.add(current.size());
    read += window.size();
    std::swap(current, next);
    current.resize(window.size());
    next.resize(std::min(kWindow, length));
    if (current.empty()) break;
  }
  return finish(hashes);
}

Result<void> hash_blocks(Image& image, uint64_t block_size,
                         const std::vector<HashAlgorithm>& algorithms,
                         const std::function<Result<void>(const BlockHash&)>& visit,
                         const Job& job) {
  SNAP_CHECK(block_size > 0);
  BlockHasher hasher(image, algorithms, job);
  std::vector<BlockHash> blocks;
  for (uint64_t at = 0; at < image.size();) {
    blocks.clear();
    while (at < image.size() && blocks.size() < kBlocks) {
      const uint64_t length = std::min(block_size, image.size() - at);
      blocks.push_back({at, length, {}});
      at += length;
    }
    SNAP_TRY(parallel_for(blocks.size(), job, [&](size_t i) { return hasher.hash(blocks[i]); }));
    for (const BlockHash& block : blocks) SNAP_TRY(visit(block));
  }
  return {};
}

Result<RangeStatistics> examine_range(Image& image, uint64_t offset, uint64_t length,
                                      const Job& job) {
  SNAP_CHECK(offset <= image.size() && length <= image.size() - offset);
  Hash hash(HashAlgorithm::kSha256);
  // Four tables, so that equal bytes in a row do not wait for each other.
  std::array<std::array<uint64_t, 256>, 4> counts{};
  IoBytes buffer(std::min(kIoPiece, length));
  for (uint64_t done = 0; done < length;) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length - done));
    SNAP_TRY(read_sparse(image, offset + done, piece));
    hash.update(piece);
    for (size_t i = 0; i < piece.size(); ++i) ++counts[i % 4][static_cast<size_t>(piece[i])];
    done += piece.size();
  }
  RangeStatistics statistics;
  statistics.sha256 = hash.finish();
  for (size_t byte = 0; byte < 256; ++byte) {
    const uint64_t count = counts[0][byte] + counts[1][byte] + counts[2][byte] + counts[3][byte];
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(length);
    statistics.entropy -= share * std::log2(share);
  }
  return statistics;
}

}  // namespace snaptool
