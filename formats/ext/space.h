// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "formats/ext/directory.h"
#include "formats/ext/volume.h"

namespace snaptool::ext {

// What the blocks of a file system are used for. Of each group, some numbers are kept once it is
// asked: 64 bytes or so for 128 MiB.
class Space {
 public:
  // Requires: `volume` outlives this.
  explicit Space(Volume& volume) : volume_(volume) {}

  // Finds out where the tables of all groups lie; only once. Groups whose tables lie outside, or on
  // another one's, are left out of all that follows, and damage() says so. Errors: kInterrupted,
  // those of Image.
  Result<void> prepare();
  const Damage& damage() const { return damage_; }

  // These require that it is prepared.
  bool has_table(uint32_t group, const Group& descriptor) const;
  // Over where all tables lie.
  uint64_t layout_sum() const;
  // Inodes in these bytes of the image, whose groups say that they were used: visit(first, count).
  Result<void> visit_inodes_at(
      uint64_t offset, uint64_t length,
      const std::function<Result<void>(uint32_t first, uint32_t count)>& visit);
  // As access::FileSystem::space_at. Requires: offset lies within the file system.
  Result<std::pair<access::SpaceKind, uint64_t>> at(uint64_t offset);

 private:
  struct Table {
    uint64_t block = 0;
    uint32_t blocks = 0;
    uint32_t group = 0;
    access::SpaceKind kind = access::SpaceKind::kMetadata;
    uint64_t end() const { return block + blocks; }
  };
  struct Use {
    access::SpaceKind kind = access::SpaceKind::kFree;
    uint64_t end = 0;  // block
  };

  void add_group(uint32_t index, const Group& group);
  void add_table(const Table& table);
  void sort_tables();
  Result<void> find_journal();
  // The first that ends past the block.
  std::vector<Table>::const_iterator table_from(uint64_t block) const;
  Result<Use> use_at(uint64_t block);
  Result<Use> use_by_bitmap(uint64_t block, uint64_t limit);
  Result<void> load_bitmap(uint32_t index, const Group& group);

  Volume& volume_;
  bool prepared_ = false;
  Damage damage_;
  std::vector<Table> tables_;                           // in order of their blocks, none on another
  std::vector<std::pair<uint64_t, uint64_t>> journal_;  // first block, end; in order
  uint64_t bitmap_block_ = 0;                           // 0: none
  RawBytes bitmap_;
};

}  // namespace snaptool::ext
