// SPDX-License-Identifier: Apache-2.0
#include "formats/qcow2/allocator.h"

#include <algorithm>

#include "formats/common/new_file.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::qcow2 {

Allocator::Allocator(File& file, unsigned cluster_bits) : file_(file), cluster_bits_(cluster_bits) {
  count_new(0, 1);
  next_ = 1;
}

Result<void> Allocator::grow(uint64_t clusters) {
  return grow_new_file(file_, checked_mul(clusters, cluster_size()).value_or(UINT64_MAX));
}

void Allocator::count_new(uint64_t first, uint64_t count) {
  counts_.resize(first + count - first_counted_);
  std::fill_n(counts_.begin() + static_cast<ptrdiff_t>(first - first_counted_), count, uint16_t{1});
}

Result<uint64_t> Allocator::take_clusters(uint64_t count) {
  SNAP_TRY(grow(next_ + count));
  const uint64_t first = next_;
  count_new(first, count);
  next_ += count;
  SNAP_TRY(write_full_blocks());
  return first * cluster_size();
}

Result<uint64_t> Allocator::take_bytes(uint64_t length) {
  const uint64_t size = cluster_size();
  const bool started = bytes_next_ < bytes_end_;
  const uint64_t index = bytes_next_ / size;
  // A count that is full, or a cluster behind that is somebody else's: then in a new one.
  const bool full = started && counts_[index - first_counted_] == UINT16_MAX;
  if (!started || full || (length > bytes_end_ - bytes_next_ && bytes_end_ != next_ * size)) {
    SNAP_TRY(grow(next_ + 1));
    bytes_next_ = next_ * size;
    bytes_end_ = bytes_next_;
  }
  const uint64_t offset = bytes_next_;
  const uint64_t end = offset + length;
  if (end > bytes_end_) {
    SNAP_TRY(grow(next_ + 1));
    if (bytes_end_ > offset) ++counts_[offset / size - first_counted_];
    count_new(next_, 1);
    ++next_;
    bytes_end_ += size;
  } else {
    ++counts_[offset / size - first_counted_];
  }
  bytes_next_ = end;
  SNAP_TRY(write_full_blocks());
  return offset;
}

// Blocks of which no count can change any more. Each takes a cluster, which is counted in a later
// one.
Result<void> Allocator::write_full_blocks() {
  // What compressed data may go on in can still be counted.
  const uint64_t open = bytes_next_ < bytes_end_ ? bytes_next_ / cluster_size() : next_;
  while (first_counted_ + block_entries() <= std::min(open, next_)) {
    RawBytes block(cluster_size());
    for (size_t i = 0; i < block_entries(); ++i) store_be(block.data() + 2 * i, counts_[i]);
    SNAP_TRY(grow(next_ + 1));
    const uint64_t offset = next_ * cluster_size();
    count_new(next_, 1);
    ++next_;
    SNAP_TRY(file_.write_at(offset, block));
    blocks_.push_back(offset);
    counts_.erase(counts_.begin(), counts_.begin() + static_cast<ptrdiff_t>(block_entries()));
    first_counted_ += block_entries();
  }
  return {};
}

Result<Allocator::Table> Allocator::finish() {
  // The blocks that are left, and the table, count themselves.
  uint64_t left = 0;
  uint64_t table = 0;
  while (true) {
    const uint64_t blocks = div_round_up(next_ + left + table - first_counted_, block_entries());
    const uint64_t clusters = div_round_up((blocks_.size() + blocks) * 8, cluster_size());
    if (blocks == left && clusters == table) break;
    left = blocks;
    table = clusters;
  }
  const uint64_t first = next_ * cluster_size();
  SNAP_TRY(grow(next_ + left + table));
  count_new(next_, left + table);
  next_ += left + table;
  counts_.resize(left * block_entries());
  RawBytes block(cluster_size());
  for (uint64_t i = 0; i < left; ++i) {
    for (size_t k = 0; k < block_entries(); ++k) {
      store_be(block.data() + 2 * k, counts_[i * block_entries() + k]);
    }
    blocks_.push_back(first + i * cluster_size());
    SNAP_TRY(file_.write_at(blocks_.back(), block));
  }
  RawBytes entries(table * cluster_size());
  std::fill(entries.begin(), entries.end(), std::byte{0});
  for (size_t i = 0; i < blocks_.size(); ++i) store_be(entries.data() + 8 * i, blocks_[i]);
  const uint64_t offset = first + left * cluster_size();
  SNAP_TRY(file_.write_at(offset, entries));
  SNAP_TRY(cut_new_file(file_, next_ * cluster_size()));
  return Table{offset, static_cast<uint32_t>(table)};
}

}  // namespace snaptool::qcow2
