// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "formats/common/image_pages.h"
#include "formats/ext/layout.h"

namespace snaptool::ext {

// The structures of an image's file system, each read where it lies. Of an image, some pages are
// kept.
class Volume {
 public:
  // Requires: both outlive it.
  Volume(Image& image, const Cancel& cancel) : pages_(image, cancel) {}
  // Before anything else. Errors: kCorruption, kUnsupported, those of Image.
  Result<void> open();

  const Superblock& superblock() const { return superblock_; }
  ImagePages& pages() { return pages_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Blocks of the file system that the image has at least a part of.
  uint64_t held_blocks() const { return held_blocks_; }
  uint64_t table_blocks() const;  // of a group

  // All of these have the errors kCorruption (also where the image ends before) and those of Image.
  Result<void> read_block(uint64_t block, RawBytes& out);
  // Requires: index < groups.
  Result<Group> group(uint32_t index);
  // Requires: 0 < id <= inodes.
  Result<Inode> inode(uint32_t id);
  Result<bool> is_used(uint32_t id);

 private:
  Result<void> check_ends();
  void warn_of_state();

  ImagePages pages_;
  Superblock superblock_;
  uint64_t held_blocks_ = 0;
  std::vector<std::string> warnings_;
  bool warned_of_group_ = false;
};

}  // namespace snaptool::ext
