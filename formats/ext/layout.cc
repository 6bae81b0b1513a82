// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/common/file_facts.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/crc32c.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::ext {
namespace {

constexpr uint16_t kMagic = 0xef53;
constexpr size_t kMagicAt = 0x38;
constexpr unsigned kLeastBlockBits = 10;
constexpr unsigned kMostBlockBits = 16;
constexpr unsigned kMostClusterBits = 30;
constexpr uint32_t kHurd = 1;
constexpr size_t kSuperblockSumAt = 0x3fc;
constexpr size_t kGroupSumAt = 0x1e;
constexpr uint16_t kGroupInodesUninit = 1;
constexpr uint16_t kGroupBlocksUninit = 2;
constexpr uint16_t kExtentMagic = 0xf30a;
constexpr size_t kExtentBytes = 12;  // of the header and of each entry
constexpr unsigned kMostDepth = 5;
constexpr uint32_t kMostExtentBlocks = 32768;  // longer ones are unwritten

struct Feature {
  uint32_t bit;
  const char* name;
  bool read;
};
constexpr Feature kIncompatible[] = {
    {0x1, "compression", false},   {0x2, "filetype", true},
    {0x4, "needs_recovery", true}, {0x8, "journal_dev", false},
    {0x10, "meta_bg", true},       {0x40, "extent", true},
    {0x80, "64bit", true},         {0x100, "mmp", true},
    {0x200, "flex_bg", true},      {0x400, "ea_inode", true},
    {0x1000, "dirdata", false},    {0x2000, "metadata_csum_seed", true},
    {0x4000, "large_dir", true},   {0x8000, "inline_data", true},
    {0x10000, "encrypt", true},    {0x20000, "casefold", true},
};

uint16_t le16(Bytes bytes, size_t at) { return load_le<uint16_t>(bytes.data() + at); }
uint32_t le32(Bytes bytes, size_t at) { return load_le<uint32_t>(bytes.data() + at); }

Result<void> check_features(uint32_t incompat) {
  for (uint32_t bit = 1; bit != 0; bit <<= 1U) {
    if ((incompat & bit) == 0) continue;
    const auto* const known = std::find_if(std::begin(kIncompatible), std::end(kIncompatible),
                                           [&](const Feature& one) { return one.bit == bit; });
    if (known == std::end(kIncompatible)) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("its incompatible feature {:#x} is not known", bit));
    }
    if (!known->read) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("file systems with the feature {} are not read", known->name));
    }
  }
  return {};
}

Result<void> check_sizes(const Superblock& superblock) {
  const uint64_t bits = 8 * superblock.block_size();  // of a bitmap
  if (!std::has_single_bit(superblock.inode_bytes) || superblock.inode_bytes < kLeastInodeBytes ||
      superblock.inode_bytes > superblock.block_size()) {
    return damaged(fmt::format("its inodes of {} bytes are impossible", superblock.inode_bytes));
  }
  if (!std::has_single_bit(superblock.descriptor_bytes) ||
      superblock.descriptor_bytes > superblock.block_size() || superblock.descriptor_bytes < 32) {
    return damaged(fmt::format("its group descriptors of {} bytes are impossible",
                               superblock.descriptor_bytes));
  }
  if (superblock.blocks_per_group == 0 ||
      superblock.blocks_per_group % superblock.blocks_per_cluster() != 0 ||
      superblock.blocks_per_group / superblock.blocks_per_cluster() > bits) {
    return damaged(fmt::format("{} blocks in a group are impossible", superblock.blocks_per_group));
  }
  if (superblock.inodes_per_group == 0 || superblock.inodes_per_group > bits) {
    return damaged(fmt::format("{} inodes in a group are impossible", superblock.inodes_per_group));
  }
  if (superblock.blocks <= superblock.first_data_block || superblock.first_data_block > 1 ||
      superblock.blocks > kMaxFileSize >> superblock.block_bits) {
    return damaged(fmt::format("its {} blocks are impossible", superblock.blocks));
  }
  return {};
}

Result<void> count_groups(Superblock& superblock) {
  const uint64_t groups =
      div_round_up(superblock.blocks - superblock.first_data_block, superblock.blocks_per_group);
  if (groups > UINT32_MAX || groups * superblock.inodes_per_group != superblock.inodes) {
    return damaged(fmt::format("{} inodes do not go with {} groups of {}", superblock.inodes,
                               groups, superblock.inodes_per_group));
  }
  superblock.groups = static_cast<uint32_t>(groups);
  return {};
}

Result<void> read_sizes(Superblock& superblock, Bytes bytes) {
  const uint32_t block = le32(bytes, 0x18);
  const bool clustered = (superblock.ro_compat & kRoBigAlloc) != 0;
  const uint32_t cluster = clustered ? le32(bytes, 0x1c) : block;
  if (block > kMostBlockBits - kLeastBlockBits || cluster < block ||
      cluster > kMostClusterBits - kLeastBlockBits) {
    return damaged(
        fmt::format("blocks of 2^{} KiB in clusters of 2^{} KiB are impossible", block, cluster));
  }
  superblock.block_bits = kLeastBlockBits + block;
  superblock.cluster_bits = kLeastBlockBits + cluster;
  superblock.inodes = le32(bytes, 0x0);
  superblock.blocks = le32(bytes, 0x4);
  superblock.first_data_block = le32(bytes, 0x14);
  superblock.blocks_per_group = le32(bytes, 0x20);
  superblock.inodes_per_group = le32(bytes, 0x28);
  if (le32(bytes, 0x4c) > 0) {  // the revision
    superblock.first_inode = le32(bytes, 0x54);
    superblock.inode_bytes = le16(bytes, 0x58);
  }
  if ((superblock.incompat & kIncompat64Bit) != 0) {
    superblock.blocks |= uint64_t{le32(bytes, 0x150)} << 32U;
    superblock.descriptor_bytes = le16(bytes, 0xfe);
  }
  SNAP_TRY(check_sizes(superblock));
  return count_groups(superblock);
}

void read_rest(Superblock& superblock, Bytes bytes) {
  superblock.state = le16(bytes, 0x3a);
  superblock.is_hurd = le32(bytes, 0x48) == kHurd;
  superblock.reserved_descriptor_blocks = le16(bytes, 0xce);
  superblock.first_meta_group = le32(bytes, 0x104);
  superblock.backup_groups = {le32(bytes, 0x24c), le32(bytes, 0x250)};
  std::memcpy(superblock.uuid.data(), bytes.data() + 0x68, superblock.uuid.size());
  const char* const label = reinterpret_cast<const char*>(bytes.data() + 0x78);
  superblock.label.assign(label, strnlen(label, 16));
  if ((superblock.compat & kCompatJournal) != 0) superblock.journal_inode = le32(bytes, 0xe0);
  if ((superblock.compat & kCompatOrphanFile) != 0) superblock.orphan_inode = le32(bytes, 0x280);
  if ((superblock.ro_compat & kRoProject) != 0) superblock.project_quota_inode = le32(bytes, 0x26c);
  superblock.sum_seed = (superblock.incompat & kIncompatSumSeed) != 0
                            ? le32(bytes, 0x270)
                            : sum_of(superblock.uuid, UINT32_MAX);
  superblock.sum_is_wrong =
      superblock.has_sums() &&
      sum_of(bytes.first(kSuperblockSumAt), UINT32_MAX) != le32(bytes, kSuperblockSumAt);
}

bool is_power_of(uint32_t number, uint32_t base) {
  while (number % base == 0) number /= base;
  return number == 1;
}

// CRC-16 with the polynomial 0xa001.
uint16_t crc16(Bytes bytes, uint16_t crc) {
  for (const std::byte byte : bytes) {
    crc = static_cast<uint16_t>(crc ^ std::to_integer<uint16_t>(byte));
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<uint16_t>(crc >> 1U ^ ((crc & 1U) != 0 ? 0xa001U : 0U));
    }
  }
  return crc;
}

uint16_t group_sum(Bytes bytes, uint32_t group, const Superblock& superblock) {
  const Bytes before = bytes.first(kGroupSumAt);
  const Bytes behind = bytes.subspan(kGroupSumAt + 2);
  std::array<std::byte, 4> number{};
  store_le(number.data(), group);
  if (superblock.has_sums()) {
    const uint32_t sum = sum_of(before, sum_of(number, superblock.sum_seed));
    return static_cast<uint16_t>(sum_of(behind, sum_of(std::array<std::byte, 2>{}, sum)));
  }
  const uint16_t sum = crc16(before, crc16(number, crc16(superblock.uuid, UINT16_MAX)));
  return (superblock.incompat & kIncompat64Bit) != 0 ? crc16(behind, sum) : sum;
}

access::FileTime time_of(uint32_t seconds, uint32_t extra) {
  access::FileTime time;
  time.seconds = int64_t{static_cast<int32_t>(seconds)} + (int64_t{extra & 3U} << 32U);
  time.nanoseconds = std::min(extra >> 2U, 999'999'999U);
  return time;
}

// The fields of a large inode are there as far as it says; so far, `field` of 4 bytes is there.
bool has_field(Bytes bytes, size_t field) {
  return bytes.size() > kLeastInodeBytes && field + 4 <= kLeastInodeBytes + le16(bytes, 0x80);
}
uint32_t field_or_0(Bytes bytes, size_t field) {
  return has_field(bytes, field) ? le32(bytes, field) : 0;
}

void read_times(Inode& inode, Bytes bytes) {
  inode.accessed = time_of(le32(bytes, 0x8), field_or_0(bytes, 0x8c));
  inode.changed = time_of(le32(bytes, 0xc), field_or_0(bytes, 0x84));
  inode.modified = time_of(le32(bytes, 0x10), field_or_0(bytes, 0x88));
  if (has_field(bytes, 0x90)) {
    inode.created = time_of(le32(bytes, 0x90), field_or_0(bytes, 0x94));
  }
}

bool is_inode_sum(Bytes bytes, uint32_t seed) {
  const bool is_long = has_field(bytes, 0x80);  // of 32 bits, the upper ones at 0x82
  constexpr std::array<std::byte, 2> kNone{};
  uint32_t sum = sum_of(kNone, sum_of(bytes.first(0x7c), seed));
  sum = sum_of(bytes.subspan(0x7e, kLeastInodeBytes - 0x7e), sum);
  uint32_t said = le16(bytes, 0x7c);
  if (bytes.size() > kLeastInodeBytes) {
    sum = sum_of(bytes.subspan(0x80, 2), sum);
    sum = sum_of(is_long ? Bytes(kNone) : bytes.subspan(0x82, 2), sum);
    sum = sum_of(bytes.subspan(0x84), sum);
    if (is_long) said |= uint32_t{le16(bytes, 0x82)} << 16U;
  }
  return said == (is_long ? sum : sum & 0xffffU);
}

void read_numbers(Inode& inode, Bytes bytes, const Superblock& superblock) {
  inode.mode = le16(bytes, 0x0);
  inode.owner = le16(bytes, 0x2) | uint32_t{le16(bytes, 0x78)} << 16U;
  inode.group = le16(bytes, 0x18) | uint32_t{le16(bytes, 0x7a)} << 16U;
  inode.links = le16(bytes, 0x1a);
  inode.flags = le32(bytes, 0x20);
  inode.generation = le32(bytes, 0x64);
  inode.project = field_or_0(bytes, 0x9c);
  inode.attribute_block = le32(bytes, 0x68);
  if (!superblock.is_hurd) inode.attribute_block |= uint64_t{le16(bytes, 0x76)} << 32U;
  inode.size = le32(bytes, 0x4);
  const auto type = inode.type();
  if (type == access::NodeType::kFile ||
      (type == access::NodeType::kFolder && (superblock.incompat & kIncompatLargeFolder) != 0)) {
    inode.size |= uint64_t{le32(bytes, 0x6c)} << 32U;
  }
  std::memcpy(inode.map.data(), bytes.data() + 0x28, kMapBytes);
}

}  // namespace

uint32_t sum_of(Bytes bytes, uint32_t seed) { return ~crc32c(bytes, ~seed); }

uint32_t sum_of_number(uint32_t number, uint32_t seed) {
  std::array<std::byte, 4> bytes{};
  store_le(bytes.data(), number);
  return sum_of(bytes, seed);
}

uint64_t Superblock::blocks_of(uint32_t group) const {
  return std::min<uint64_t>(blocks_per_group, blocks - first_block_of(group));
}

bool Superblock::has_superblock(uint32_t group) const {
  if (group == 0) return true;
  if ((compat & kCompatSparseSuper2) != 0) {
    return group == backup_groups[0] || group == backup_groups[1];
  }
  if (group == 1 || (ro_compat & kRoSparseSuper) == 0) return true;
  return is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

uint64_t Superblock::descriptor_block_of(uint32_t group) const {
  const uint32_t index = group / descriptors_per_block();
  // Blocks of 1 KiB in clusters: the group begins at block 0, its superblock lies in block 1.
  const uint64_t shift = block_bits == kLeastBlockBits && first_data_block == 0 ? 1 : 0;
  if ((incompat & kIncompatMetaGroups) == 0 || index < first_meta_group) {
    return first_data_block + shift + index + 1;
  }
  const uint32_t first = index * descriptors_per_block();
  return first_block_of(first) + (has_superblock(first) ? 1 : 0) + (first == 0 ? shift : 0);
}

uint64_t Superblock::head_blocks_of(uint32_t group) const {
  const uint64_t shift = block_bits == kLeastBlockBits && first_data_block == 0 ? 1 : 0;
  const uint64_t own = has_superblock(group) ? 1 + (group == 0 ? shift : 0) : 0;
  const uint32_t index = group / descriptors_per_block();
  const bool meta = (incompat & kIncompatMetaGroups) != 0;
  if (meta && index >= first_meta_group) {
    const uint32_t within = group % descriptors_per_block();
    const bool has_copy = within == 0 || within == 1 || within == descriptors_per_block() - 1;
    return own + (has_copy ? 1 : 0);
  }
  if (own == 0) return 0;
  const uint64_t all = div_round_up(groups, descriptors_per_block());
  return own + (meta ? std::min<uint64_t>(all, first_meta_group) : all) +
         reserved_descriptor_blocks;
}

std::string_view Superblock::type() const {
  constexpr uint32_t kOldIncompat = kIncompatFileType | kIncompatRecover | kIncompatMetaGroups;
  constexpr uint32_t kOldRoCompat = 0x7;  // sparse_super, large_file, btree_dir
  if ((incompat & ~kOldIncompat) != 0 || (ro_compat & ~kOldRoCompat) != 0) return "ext4";
  return (compat & kCompatJournal) != 0 ? "ext3" : "ext2";
}

bool has_magic(Bytes head) {
  constexpr size_t kBlockSizeAt = 0x18;
  if (head.size() < kSuperblockAt + kMagicAt + sizeof kMagic) return false;
  const Bytes superblock = head.subspan(kSuperblockAt);
  return le16(superblock, kMagicAt) == kMagic &&
         le32(superblock, kBlockSizeAt) <= kMostBlockBits - kLeastBlockBits;
}

Result<Superblock> parse_superblock(Bytes bytes) {
  SNAP_CHECK(bytes.size() == kSuperblockBytes);
  if (le16(bytes, kMagicAt) != kMagic) {
    return damaged("it has no file system of ext2, ext3 or ext4: the magic is missing");
  }
  Superblock superblock;
  if (le32(bytes, 0x4c) > 0) {
    superblock.compat = le32(bytes, 0x5c);
    superblock.incompat = le32(bytes, 0x60);
    superblock.ro_compat = le32(bytes, 0x64);
  }
  SNAP_TRY(check_features(superblock.incompat));
  SNAP_TRY(read_sizes(superblock, bytes));
  read_rest(superblock, bytes);
  return superblock;
}

Group parse_group(Bytes bytes, uint32_t group, const Superblock& superblock) {
  SNAP_CHECK(bytes.size() == superblock.descriptor_bytes);
  const bool wide = bytes.size() >= 64;
  const auto number = [&](size_t low, size_t high) {
    return le32(bytes, low) | (wide ? uint64_t{le32(bytes, high)} << 32U : 0);
  };
  const auto half = [&](size_t low, size_t high) {
    return le16(bytes, low) | (wide ? uint32_t{le16(bytes, high)} << 16U : 0);
  };
  Group parsed;
  parsed.block_bitmap = number(0x0, 0x20);
  parsed.inode_bitmap = number(0x4, 0x24);
  parsed.inode_table = number(0x8, 0x28);
  parsed.block_bitmap_sum = half(0x18, 0x38);
  parsed.inode_bitmap_sum = half(0x1a, 0x3a);
  parsed.used_inodes = superblock.inodes_per_group;
  if ((superblock.ro_compat & (kRoGroupSums | kRoSums)) == 0) return parsed;
  parsed.sum_is_wrong = group_sum(bytes, group, superblock) != le16(bytes, kGroupSumAt);
  if (parsed.sum_is_wrong) return parsed;
  const uint16_t flags = le16(bytes, 0x12);
  const uint32_t unused = half(0x1c, 0x32);
  const bool none = (flags & kGroupInodesUninit) != 0;
  parsed.used_inodes -= none ? parsed.used_inodes : std::min(unused, parsed.used_inodes);
  parsed.has_block_bitmap = (flags & kGroupBlocksUninit) == 0;
  return parsed;
}

bool is_bitmap_sum(Bytes bitmap, uint32_t sum, const Superblock& superblock) {
  if (!superblock.has_sums()) return true;
  const uint32_t found = sum_of(bitmap, superblock.sum_seed);
  return sum == (superblock.descriptor_bytes >= 64 ? found : found & 0xffffU);
}

access::NodeType Inode::type() const { return type_of_mode(mode); }

bool Inode::is_short_link() const {
  return type() == access::NodeType::kLink && size < kMapBytes && !has_extents() && !is_inline();
}

Result<Inode> parse_inode(Bytes bytes, uint32_t id, const Superblock& superblock) {
  SNAP_CHECK(bytes.size() == superblock.inode_bytes);
  const size_t extra = bytes.size() > kLeastInodeBytes ? le16(bytes, 0x80) : 0;
  if (extra % 4 != 0 || extra > bytes.size() - kLeastInodeBytes) {
    return damaged(fmt::format("inode {} has {} bytes more, which is impossible", id, extra));
  }
  Inode inode;
  inode.id = id;
  read_numbers(inode, bytes, superblock);
  read_times(inode, bytes);
  if (superblock.has_sums() && !is_all_zero(bytes)) {  // zeros: a reserved one that has no use
    inode.sum_seed = sum_of_number(inode.generation, sum_of_number(id, superblock.sum_seed));
    if (!is_inode_sum(bytes, inode.sum_seed)) {
      return damaged(fmt::format("the checksum of inode {} is wrong", id));
    }
  }
  const uint64_t most = uint64_t{1} << (32U + superblock.block_bits);
  if (inode.size > most) {
    return damaged(fmt::format("the size of inode {}, {} bytes, is impossible", id, inode.size));
  }
  if (bytes.size() > kLeastInodeBytes) {
    const Bytes rest = bytes.subspan(kLeastInodeBytes + extra);
    inode.attributes.assign(rest.begin(), rest.end());
  }
  return inode;
}

Result<ExtentNode> parse_extent_node(Bytes bytes) {
  if (le16(bytes, 0) != kExtentMagic) return damaged("a node of extents has no magic");
  ExtentNode node;
  node.entries = le16(bytes, 2);
  const unsigned most = le16(bytes, 4);
  node.depth = le16(bytes, 6);
  if (node.depth > kMostDepth || node.entries > most || most > bytes.size() / kExtentBytes - 1) {
    return damaged(fmt::format("a node of extents of depth {} with {} of {} entries is impossible",
                               node.depth, node.entries, most));
  }
  return node;
}

MapEntry extent_entry(Bytes bytes, const ExtentNode& node, unsigned index) {
  SNAP_CHECK(index < node.entries);
  const Bytes raw = bytes.subspan(kExtentBytes * (1 + index), kExtentBytes);
  MapEntry entry;
  entry.first = le32(raw, 0);
  if (node.depth > 0) {
    entry.place = le32(raw, 4) | uint64_t{le16(raw, 8)} << 32U;
    return entry;
  }
  entry.length = le16(raw, 4);
  entry.unwritten = entry.length > kMostExtentBlocks;
  if (entry.unwritten) entry.length -= kMostExtentBlocks;
  entry.place = le32(raw, 8) | uint64_t{le16(raw, 6)} << 32U;
  return entry;
}

bool is_extent_sum(Bytes block, const Inode& inode, const Superblock& superblock) {
  if (!superblock.has_sums()) return true;
  const size_t at = kExtentBytes * (1 + size_t{le16(block, 4)});
  return at + 4 <= block.size() && sum_of(block.first(at), inode.sum_seed) == le32(block, at);
}

}  // namespace snaptool::ext
