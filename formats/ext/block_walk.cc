// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/block_walk.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/endian.h"

namespace snaptool::ext {
namespace {

class BlockWalk {
 public:
  using Visit = std::function<Result<bool>(const BlockRun&)>;
  using VisitMap = std::function<Result<void>(uint64_t block)>;
  BlockWalk(Volume& volume, const Inode& inode, uint64_t from, const Visit& visit,
            const VisitMap* visit_map = nullptr)
      : volume_(volume), inode_(inode), from_(from), visit_(visit), visit_map_(visit_map) {}

  Result<void> run() {
    SNAP_TRY(inode_.has_extents() ? root() : map());
    if (!stopped_) SNAP_TRY(give());
    return {};
  }

 private:
  Result<void> root() {
    SNAP_ASSIGN(const ExtentNode node, parse_extent_node(inode_.map));
    return walk(inode_.map, node, uint64_t{1} << 32U);
  }

  // `upper`: the first block of the file that is not the node's.
  Result<void> walk(Bytes bytes, const ExtentNode& node, uint64_t upper) {
    for (unsigned i = 0; i < node.entries && !stopped_; ++i) {
      const MapEntry entry = extent_entry(bytes, node, i);
      if (entry.first < next_ || entry.first >= upper) return out_of_order(entry.first);
      next_ = entry.first;
      if (node.depth == 0) {
        SNAP_TRY(extent(entry, upper));
        continue;
      }
      const uint64_t end = i + 1 < node.entries ? extent_entry(bytes, node, i + 1).first : upper;
      if (end <= entry.first || end > upper) return out_of_order(end);
      if (end > from_) SNAP_TRY(below(entry.place, node.depth - 1, end));
      next_ = end;
    }
    return {};
  }

  Result<void> below(uint64_t block, unsigned depth, uint64_t upper) {
    RawBytes bytes;
    SNAP_TRY(read_table(block, bytes));
    SNAP_ASSIGN(const ExtentNode node, parse_extent_node(bytes));
    if (node.depth != depth || node.entries == 0) {
      return damaged(fmt::format("inode {} has a node of extents of depth {} with {} entries",
                                 inode_.id, node.depth, node.entries));
    }
    if (!is_extent_sum(bytes, inode_, volume_.superblock())) {
      return damaged(
          fmt::format("the checksum of a node of extents of inode {} is wrong", inode_.id));
    }
    return walk(bytes, node, upper);
  }

  Result<void> extent(const MapEntry& entry, uint64_t upper) {
    if (entry.length == 0 || entry.length > upper - entry.first) return out_of_order(entry.first);
    next_ = entry.first + entry.length;
    if (next_ <= from_) return {};
    SNAP_TRY(check_place(entry.place, entry.length));
    return add(
        {entry.first, entry.length, entry.unwritten ? std::nullopt : std::optional(entry.place)});
  }

  Result<void> map() {
    constexpr uint64_t kDirect = 12;
    constexpr unsigned kLevels = 3;
    uint64_t first = 0;
    for (unsigned i = 0; i < kDirect && !stopped_; ++i, ++first) {
      SNAP_TRY(pointer(load_le<uint32_t>(inode_.map.data() + size_t{4} * i), 0, first));
    }
    for (unsigned level = 1; level <= kLevels && !stopped_; ++level) {
      const size_t at = 4 * (kDirect + level - 1);
      SNAP_TRY(pointer(load_le<uint32_t>(inode_.map.data() + at), level, first));
      first += span_of(level);
    }
    return {};
  }

  // Blocks of a file that a pointer of a level is for: at most 2^42.
  uint64_t span_of(unsigned level) const {
    return uint64_t{1} << (level * (volume_.superblock().block_bits - 2));
  }

  Result<void> pointer(uint32_t block, unsigned level, uint64_t first) {
    if (block == 0 || first + span_of(level) <= from_) return {};
    if (level == 0) {
      SNAP_TRY(check_place(block, 1));
      return add({first, 1, block});
    }
    RawBytes bytes;
    SNAP_TRY(read_table(block, bytes));
    for (size_t at = 0; at < bytes.size() && !stopped_; at += 4) {
      SNAP_TRY(pointer(load_le<uint32_t>(bytes.data() + at), level - 1, first));
      first += span_of(level - 1);
    }
    return {};
  }

  Result<void> read_table(uint64_t block, RawBytes& bytes) {
    if (++tables_ > volume_.held_blocks()) return used_twice();
    SNAP_TRY(volume_.pages().poll());
    if (visit_map_ != nullptr) SNAP_TRY((*visit_map_)(block));
    return volume_.read_block(block, bytes);
  }

  Result<void> check_place(uint64_t block, uint64_t length) {
    const Superblock& superblock = volume_.superblock();
    if (block <= superblock.first_data_block || block >= superblock.blocks ||
        length > superblock.blocks - block) {
      return damaged(fmt::format("inode {} has {} blocks from {} on, of {}", inode_.id, length,
                                 block, superblock.blocks));
    }
    const uint64_t held = volume_.held_blocks();
    if (block < held) mapped_ += std::min(length, held - block);
    if (mapped_ > held) return used_twice();
    return {};
  }

  Result<void> add(const BlockRun& run) {
    const bool goes_on = pending_.length > 0 && pending_.first + pending_.length == run.first &&
                         pending_.place.has_value() == run.place.has_value() &&
                         (!run.place || *pending_.place + pending_.length == *run.place);
    if (goes_on) {
      pending_.length += run.length;
      return {};
    }
    SNAP_TRY(give());
    pending_ = run;
    return {};
  }

  Result<void> give() {
    if (pending_.length == 0) return {};
    SNAP_ASSIGN(const bool more, visit_(pending_));
    stopped_ = !more;
    pending_.length = 0;
    return {};
  }

  Error out_of_order(uint64_t first) const {
    return damaged(
        fmt::format("the extents of inode {} are out of order at block {}", inode_.id, first));
  }
  Error used_twice() const {
    return damaged(fmt::format("inode {} has some blocks more than once", inode_.id));
  }

  Volume& volume_;
  const Inode& inode_;
  const uint64_t from_;
  const Visit& visit_;
  const VisitMap* const visit_map_;
  uint64_t next_ = 0;  // the least block of the file that may follow
  uint64_t tables_ = 0;
  uint64_t mapped_ = 0;  // blocks that the image has
  BlockRun pending_;
  bool stopped_ = false;
};

}  // namespace

Result<void> walk_blocks(Volume& volume, const Inode& inode, uint64_t from,
                         const std::function<Result<bool>(const BlockRun&)>& visit) {
  return BlockWalk(volume, inode, from, visit).run();
}

Result<void> walk_map_blocks(Volume& volume, const Inode& inode,
                             const std::function<Result<void>(uint64_t block)>& visit) {
  const BlockWalk::Visit go_on = [](const BlockRun&) -> Result<bool> { return true; };
  return BlockWalk(volume, inode, 0, go_on, &visit).run();
}

}  // namespace snaptool::ext
