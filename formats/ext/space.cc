// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/space.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/ext/block_walk.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/sha256.h"

namespace snaptool::ext {
namespace {

using access::SpaceKind;
constexpr size_t kMostJournalRuns = 65536;

bool bit_at(Bytes bitmap, uint64_t index) {
  return (std::to_integer<unsigned>(bitmap[index / 8]) >> (index % 8) & 1U) != 0;
}

// The next bit from `index` on that is not `bit`; at most `end`.
uint64_t end_of_bits(Bytes bitmap, uint64_t index, uint64_t end, bool bit) {
  const auto all = bit ? std::byte{0xff} : std::byte{0};
  while (index < end) {
    if (index % 8 == 0 && bitmap[index / 8] == all) {
      index += 8;
    } else if (bit_at(bitmap, index) == bit) {
      ++index;
    } else {
      return index;
    }
  }
  return end;
}

}  // namespace

Result<void> Space::prepare() {
  if (prepared_) return {};
  const Superblock& superblock = volume_.superblock();
  for (uint32_t index = 0; index < superblock.groups; ++index) {
    if (index % 1024 == 0) SNAP_TRY(volume_.pages().poll());
    if (superblock.descriptor_block_of(index) >= volume_.held_blocks()) {
      damage_.add("the image ends before the descriptors of all groups");
      break;  // those of the rest lie farther out
    }
    auto group = volume_.group(index);
    if (group) {
      add_group(index, *group);
    } else {
      SNAP_TRY(damage_.note(std::move(group).error()));
    }
  }
  sort_tables();
  SNAP_TRY(damage_.note(find_journal()));
  prepared_ = true;
  return {};
}

void Space::add_group(uint32_t index, const Group& group) {
  add_table({group.block_bitmap, 1, index, SpaceKind::kMetadata});
  add_table({group.inode_bitmap, 1, index, SpaceKind::kMetadata});
  add_table(
      {group.inode_table, static_cast<uint32_t>(volume_.table_blocks()), index, SpaceKind::kNodes});
}

void Space::add_table(const Table& table) {
  const Superblock& superblock = volume_.superblock();
  if (table.block <= superblock.first_data_block || table.block >= superblock.blocks ||
      table.blocks > superblock.blocks - table.block) {
    damage_.add(fmt::format("a table of group {} lies at block {} of {}", table.group, table.block,
                            superblock.blocks));
    return;
  }
  tables_.push_back(table);
}

// Bitmaps that lie together become one.
void Space::sort_tables() {
  std::sort(tables_.begin(), tables_.end(),
            [](const Table& a, const Table& b) { return a.block < b.block; });
  size_t kept = 0;
  for (const Table& table : tables_) {
    Table* const before = kept > 0 ? &tables_[kept - 1] : nullptr;
    if (before != nullptr && before->end() > table.block) {
      damage_.add(fmt::format("tables of the groups {} and {} lie on one another", before->group,
                              table.group));
    } else if (before != nullptr && before->end() == table.block &&
               before->kind == SpaceKind::kMetadata && table.kind == SpaceKind::kMetadata) {
      ++before->blocks;
    } else {
      tables_[kept++] = table;
    }
  }
  tables_.resize(kept);
  tables_.shrink_to_fit();
}

Result<void> Space::find_journal() {
  const uint32_t id = volume_.superblock().journal_inode;
  if (id == 0 || id > volume_.superblock().inodes) return {};
  SNAP_ASSIGN(const Inode inode, volume_.inode(id));
  if (inode.type() != access::NodeType::kFile) return {};
  SNAP_TRY(walk_blocks(volume_, inode, 0, [&](const BlockRun& run) -> Result<bool> {
    if (run.place) journal_.emplace_back(*run.place, *run.place + run.length);
    return journal_.size() < kMostJournalRuns;
  }));
  std::sort(journal_.begin(), journal_.end());
  return {};
}

std::vector<Space::Table>::const_iterator Space::table_from(uint64_t block) const {
  return std::upper_bound(tables_.begin(), tables_.end(), block,
                          [](uint64_t place, const Table& table) { return place < table.end(); });
}

bool Space::has_table(uint32_t group, const Group& descriptor) const {
  const auto table = table_from(descriptor.inode_table);
  return table != tables_.end() && table->block == descriptor.inode_table &&
         table->kind == SpaceKind::kNodes && table->group == group;
}

uint64_t Space::layout_sum() const {
  Sha256 sum;
  for (const Table& table : tables_) {
    const std::array<uint64_t, 4> numbers{table.block, table.blocks, table.group,
                                          static_cast<uint64_t>(table.kind)};
    sum.update(std::as_bytes(std::span(numbers)));
  }
  const Sha256::Digest digest = sum.finish_digest();
  return load_le<uint64_t>(digest.data());
}

Result<void> Space::visit_inodes_at(
    uint64_t offset, uint64_t length,
    const std::function<Result<void>(uint32_t first, uint32_t count)>& visit) {
  const Superblock& superblock = volume_.superblock();
  const uint64_t end = offset + std::min(length, UINT64_MAX - offset);
  for (auto table = table_from(offset >> superblock.block_bits); table != tables_.end(); ++table) {
    const uint64_t start = table->block << superblock.block_bits;
    if (start >= end) break;
    if (table->kind != SpaceKind::kNodes) continue;
    SNAP_TRY(volume_.pages().poll());
    SNAP_ASSIGN(const Group group, volume_.group(table->group));
    const uint64_t first = std::max(offset, start) - start;
    const uint64_t from = first / superblock.inode_bytes;
    const uint64_t to =
        std::min<uint64_t>(div_round_up(end - start, superblock.inode_bytes), group.used_inodes);
    if (from >= to) continue;
    const uint64_t id = uint64_t{table->group} * superblock.inodes_per_group + from + 1;
    SNAP_TRY(visit(static_cast<uint32_t>(id), static_cast<uint32_t>(to - from)));
  }
  return {};
}

Result<std::pair<SpaceKind, uint64_t>> Space::at(uint64_t offset) {
  const unsigned bits = volume_.superblock().block_bits;
  SNAP_ASSIGN(const Use use, use_at(offset >> bits));
  return std::pair(use.kind, use.end << bits);
}

Result<Space::Use> Space::use_at(uint64_t block) {
  const Superblock& superblock = volume_.superblock();
  if (block < superblock.first_data_block) return Use{SpaceKind::kMetadata, block + 1};
  const auto table = table_from(block);
  uint64_t limit = superblock.blocks;
  if (table != tables_.end()) {
    if (table->block <= block) return Use{table->kind, table->end()};
    limit = table->block;
  }
  const auto journal = std::upper_bound(
      journal_.begin(), journal_.end(), block,
      [](uint64_t place, const std::pair<uint64_t, uint64_t>& run) { return place < run.second; });
  if (journal != journal_.end()) {
    if (journal->first <= block) {
      return Use{SpaceKind::kJournal, std::min(limit, journal->second)};
    }
    limit = std::min(limit, journal->first);
  }
  return use_by_bitmap(block, limit);
}

Result<Space::Use> Space::use_by_bitmap(uint64_t block, uint64_t limit) {
  const Superblock& superblock = volume_.superblock();
  const auto index =
      static_cast<uint32_t>((block - superblock.first_data_block) / superblock.blocks_per_group);
  const uint64_t start = superblock.first_block_of(index);
  const uint64_t head = start + superblock.head_blocks_of(index);
  limit = std::min(limit, start + superblock.blocks_of(index));
  if (block < head) return Use{SpaceKind::kMetadata, std::min(limit, head)};
  SNAP_ASSIGN(const Group group, volume_.group(index));
  if (!group.has_block_bitmap) return Use{SpaceKind::kFree, limit};
  SNAP_TRY(load_bitmap(index, group));
  const uint64_t per_bit = superblock.blocks_per_cluster();
  const uint64_t bit = (block - start) / per_bit;
  const bool used = bit_at(bitmap_, bit);
  const uint64_t end =
      end_of_bits(bitmap_, bit, superblock.blocks_per_group / per_bit, used) * per_bit + start;
  return Use{used ? SpaceKind::kFile : SpaceKind::kFree, std::min(limit, end)};
}

Result<void> Space::load_bitmap(uint32_t index, const Group& group) {
  const Superblock& superblock = volume_.superblock();
  if (bitmap_block_ == group.block_bitmap && bitmap_block_ != 0) return {};
  bitmap_block_ = 0;
  SNAP_TRY(volume_.read_block(group.block_bitmap, bitmap_));
  const uint64_t bits = superblock.blocks_per_group / superblock.blocks_per_cluster();
  if (!is_bitmap_sum(Bytes(bitmap_).first(bits / 8), group.block_bitmap_sum, superblock)) {
    return damaged(fmt::format("the checksum of the block bitmap of group {} is wrong", index));
  }
  bitmap_block_ = group.block_bitmap;
  return {};
}

}  // namespace snaptool::ext
