// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/volume.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool::ext {
namespace {

constexpr uint16_t kStateClean = 1;
constexpr uint16_t kStateErrors = 2;

}  // namespace

Result<void> Volume::open() {
  std::array<std::byte, kSuperblockBytes> bytes{};
  SNAP_TRY(pages_.read_data(kSuperblockAt, bytes));
  SNAP_ASSIGN(superblock_, parse_superblock(bytes));
  held_blocks_ =
      std::min(superblock_.blocks, div_round_up(pages_.size(), superblock_.block_size()));
  SNAP_TRY(check_ends());
  warn_of_state();
  return {};
}

// What is walked over has to be in the image, so that no number makes it longer.
Result<void> Volume::check_ends() {
  const uint64_t bytes = superblock_.blocks << superblock_.block_bits;
  if (bytes > pages_.size()) {
    warnings_.push_back(
        fmt::format("the image ends {} bytes before its file system", bytes - pages_.size()));
  }
  if ((superblock_.incompat & kIncompatMetaGroups) != 0) return {};
  if (superblock_.descriptor_block_of(superblock_.groups - 1) >= held_blocks_) {
    return damaged("the image ends within the descriptors of its groups");
  }
  return {};
}

void Volume::warn_of_state() {
  if (superblock_.sum_is_wrong) warnings_.emplace_back("the checksum of its superblock is wrong");
  if ((superblock_.incompat & kIncompatRecover) != 0) {
    warnings_.emplace_back("its journal was not replayed: the last changes may be torn");
  } else if ((superblock_.state & kStateClean) == 0) {
    warnings_.emplace_back("it was not unmounted: the last changes may be torn");
  }
  if ((superblock_.state & kStateErrors) != 0) {
    warnings_.emplace_back("the kernel has found errors in it");
  }
}

uint64_t Volume::table_blocks() const {
  return div_round_up(uint64_t{superblock_.inodes_per_group} * superblock_.inode_bytes,
                      superblock_.block_size());
}

Result<void> Volume::read_block(uint64_t block, RawBytes& out) {
  if (block < superblock_.first_data_block || block == 0 || block >= superblock_.blocks) {
    return damaged(fmt::format("block {} of {} is named", block, superblock_.blocks));
  }
  out.resize(superblock_.block_size());
  return pages_.read(block << superblock_.block_bits, out);
}

Result<Group> Volume::group(uint32_t index) {
  SNAP_CHECK(index < superblock_.groups);
  std::array<std::byte, 64 * kKiB> buffer;
  const std::span<std::byte> bytes = std::span(buffer).first(superblock_.descriptor_bytes);
  const uint64_t block = superblock_.descriptor_block_of(index);
  const uint64_t within = index % superblock_.descriptors_per_block();
  SNAP_TRY(pages_.read((block << superblock_.block_bits) + within * bytes.size(), bytes));
  const Group group = parse_group(bytes, index, superblock_);
  if (group.sum_is_wrong && !warned_of_group_) {
    warned_of_group_ = true;
    warnings_.push_back(fmt::format("the checksum of the descriptor of group {} is wrong", index));
  }
  return group;
}

Result<Inode> Volume::inode(uint32_t id) {
  SNAP_CHECK(id > 0 && id <= superblock_.inodes);
  SNAP_ASSIGN(const Group in, group((id - 1) / superblock_.inodes_per_group));
  if (in.inode_table == 0 || in.inode_table >= superblock_.blocks ||
      table_blocks() > superblock_.blocks - in.inode_table) {
    return damaged(fmt::format("inode {} lies outside of the file system", id));
  }
  std::array<std::byte, 64 * kKiB> buffer;
  const std::span<std::byte> bytes = std::span(buffer).first(superblock_.inode_bytes);
  const uint64_t within = (id - 1) % superblock_.inodes_per_group;
  SNAP_TRY(pages_.read((in.inode_table << superblock_.block_bits) + within * bytes.size(), bytes));
  return parse_inode(bytes, id, superblock_);
}

Result<bool> Volume::is_used(uint32_t id) {
  SNAP_CHECK(id > 0 && id <= superblock_.inodes);
  SNAP_ASSIGN(const Group in, group((id - 1) / superblock_.inodes_per_group));
  const uint32_t within = (id - 1) % superblock_.inodes_per_group;
  if (within >= in.used_inodes) return false;
  if (in.inode_bitmap == 0 || in.inode_bitmap >= superblock_.blocks) {
    return damaged(fmt::format("the bitmap for inode {} lies outside of the file system", id));
  }
  std::array<std::byte, 1> byte{};
  SNAP_TRY(pages_.read((in.inode_bitmap << superblock_.block_bits) + within / 8, byte));
  return (std::to_integer<unsigned>(byte[0]) >> (within % 8) & 1U) != 0;
}

}  // namespace snaptool::ext
