// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/common/damage.h"
#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::ext {

// The structures of ext2, ext3 and ext4 (formats/ext/FORMAT.md). Pure: nothing here reads an image.
// Sources: the kernel's Documentation/filesystems/ext4 and fs/ext4/ext4.h; e2fsprogs' ext2_fs.h.

using Bytes = std::span<const std::byte>;

inline constexpr uint64_t kSuperblockAt = 1024;  // bytes
inline constexpr size_t kSuperblockBytes = 1024;
inline constexpr size_t kLeastInodeBytes = 128;
inline constexpr size_t kMapBytes = 60;  // of an inode: block numbers, extents or content
inline constexpr uint32_t kRootInode = 2;
inline constexpr uint32_t kJournalInode = 8;

inline constexpr uint32_t kCompatJournal = 0x4;
inline constexpr uint32_t kCompatSparseSuper2 = 0x200;
inline constexpr uint32_t kCompatOrphanFile = 0x1000;
inline constexpr uint32_t kIncompatFileType = 0x2;
inline constexpr uint32_t kIncompatRecover = 0x4;
inline constexpr uint32_t kIncompatJournalDevice = 0x8;
inline constexpr uint32_t kIncompatMetaGroups = 0x10;
inline constexpr uint32_t kIncompat64Bit = 0x80;
inline constexpr uint32_t kIncompatSumSeed = 0x2000;
inline constexpr uint32_t kIncompatLargeFolder = 0x4000;
inline constexpr uint32_t kRoSparseSuper = 0x1;
inline constexpr uint32_t kRoHugeFile = 0x8;
inline constexpr uint32_t kRoGroupSums = 0x10;
inline constexpr uint32_t kRoProject = 0x2000;
inline constexpr uint32_t kRoBigAlloc = 0x200;
inline constexpr uint32_t kRoSums = 0x400;
inline constexpr uint32_t kRoSharedBlocks = 0x4000;

// What of a file system does not change while it is read.
struct Superblock {
  uint32_t inodes = 0;
  uint64_t blocks = 0;
  uint32_t first_data_block = 0;
  unsigned block_bits = 10;    // a block has 2^this bytes
  unsigned cluster_bits = 10;  // and what a bit of a bitmap is for
  uint32_t blocks_per_group = 0;
  uint32_t inodes_per_group = 0;
  uint32_t groups = 0;
  uint16_t inode_bytes = kLeastInodeBytes;
  uint16_t descriptor_bytes = 32;
  uint16_t reserved_descriptor_blocks = 0;
  uint32_t first_meta_group = 0;
  uint32_t first_inode = 11;  // that is not reserved
  uint32_t compat = 0;
  uint32_t incompat = 0;
  uint32_t ro_compat = 0;
  uint16_t state = 0;
  bool is_hurd = false;
  uint32_t journal_inode = 0;
  uint32_t orphan_inode = 0;         // 0: none
  uint32_t project_quota_inode = 0;  // 0: none
  std::array<uint32_t, 2> backup_groups{};
  uint32_t sum_seed = 0;
  bool sum_is_wrong = false;
  std::array<std::byte, 16> uuid{};
  std::string label;

  uint64_t block_size() const { return uint64_t{1} << block_bits; }
  bool has_sums() const { return (ro_compat & kRoSums) != 0; }
  uint64_t blocks_per_cluster() const { return uint64_t{1} << (cluster_bits - block_bits); }
  uint32_t descriptors_per_block() const {
    return static_cast<uint32_t>(block_size() / descriptor_bytes);
  }
  uint64_t first_block_of(uint32_t group) const {
    return first_data_block + uint64_t{group} * blocks_per_group;
  }
  uint64_t blocks_of(uint32_t group) const;
  // Whether the group begins with a copy of the superblock.
  bool has_superblock(uint32_t group) const;
  // The block that has the descriptors of a group. Requires: group < groups.
  uint64_t descriptor_block_of(uint32_t group) const;
  // Blocks at the beginning of a group that have a superblock and descriptors.
  uint64_t head_blocks_of(uint32_t group) const;
  // "ext2", "ext3" or "ext4", as blkid tells them apart.
  std::string_view type() const;
};

// Of the first 2 KiB of an image.
bool has_magic(Bytes head);
// Requires: kSuperblockBytes bytes. Errors: kCorruption; kUnsupported for features that change how
// it is read and are not known here.
Result<Superblock> parse_superblock(Bytes bytes);

// The kernel's crc32c(), which inverts nothing, goes on from `seed`.
uint32_t sum_of(Bytes bytes, uint32_t seed);
uint32_t sum_of_number(uint32_t number, uint32_t seed);

struct Group {
  uint64_t block_bitmap = 0;  // blocks
  uint64_t inode_bitmap = 0;
  uint64_t inode_table = 0;
  uint32_t used_inodes = 0;  // those behind were never used: what the disk has there says nothing
  bool has_block_bitmap = true;
  uint32_t block_bitmap_sum = 0;
  uint32_t inode_bitmap_sum = 0;
  bool sum_is_wrong = false;  // then all inodes count as used, both bitmaps as there
};

// Requires: descriptor_bytes bytes. Where its sum is wrong, that is said.
Group parse_group(Bytes bytes, uint32_t group, const Superblock& superblock);
// Whether the sum that a descriptor has of a bitmap is right. Without sums it is.
bool is_bitmap_sum(Bytes bitmap, uint32_t sum, const Superblock& superblock);

inline constexpr uint32_t kFlagEncrypted = 0x800;
inline constexpr uint32_t kFlagIndexed = 0x1000;
inline constexpr uint32_t kFlagHugeFile = 0x40000;
inline constexpr uint32_t kFlagExtents = 0x80000;
inline constexpr uint32_t kFlagAttributeValue = 0x200000;
inline constexpr uint32_t kFlagBlocksPastEnd = 0x400000;
inline constexpr uint32_t kFlagInline = 0x10000000;

struct Inode {
  uint32_t id = 0;
  uint16_t mode = 0;
  uint32_t owner = 0;
  uint32_t group = 0;
  uint16_t links = 0;
  uint64_t size = 0;
  uint32_t flags = 0;
  uint32_t generation = 0;
  uint32_t project = 0;
  uint64_t attribute_block = 0;  // 0: none
  access::FileTime accessed;
  access::FileTime changed;
  access::FileTime modified;
  std::optional<access::FileTime> created;
  std::array<std::byte, kMapBytes> map{};
  std::vector<std::byte> attributes;  // those within the inode: what follows its fields
  uint32_t sum_seed = 0;              // for the sums of its blocks

  access::NodeType type() const;
  bool has_extents() const { return (flags & kFlagExtents) != 0; }
  bool is_inline() const { return (flags & kFlagInline) != 0; }
  // A link whose target lies where others have block numbers.
  bool is_short_link() const;
};

// Requires: inode_bytes bytes. Errors: kCorruption, also where its sum is wrong.
Result<Inode> parse_inode(Bytes bytes, uint32_t id, const Superblock& superblock);

struct ExtentNode {
  unsigned depth = 0;  // 0: its entries are extents
  unsigned entries = 0;
};
struct MapEntry {
  uint64_t first = 0;   // block of the file
  uint64_t length = 0;  // blocks; of an index 0
  uint64_t place = 0;   // block of the image
  bool unwritten = false;
};

// A node of a tree of extents: the inode's map, or a block. Errors: kCorruption.
Result<ExtentNode> parse_extent_node(Bytes bytes);
// Requires: index < node.entries.
MapEntry extent_entry(Bytes bytes, const ExtentNode& node, unsigned index);
// Of a block; without sums it is.
bool is_extent_sum(Bytes block, const Inode& inode, const Superblock& superblock);

}  // namespace snaptool::ext
