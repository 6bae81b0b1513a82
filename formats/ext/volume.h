// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "formats/ext/layout.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/progress.h"
#include "libsnap/base/units.h"
#include "libsnap/io/image.h"

namespace snaptool::ext {

// The structures of an image's file system, each read where it lies. Of an image, some pages are
// kept.
class Volume {
 public:
  // Requires: both outlive it.
  Volume(Image& image, const Cancel& cancel) : image_(image), cancel_(cancel) {}
  // Before anything else. Errors: kCorruption, kUnsupported, those of Image.
  Result<void> open();

  const Superblock& superblock() const { return superblock_; }
  Image& image() const { return image_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Blocks of the file system that the image has at least a part of.
  uint64_t held_blocks() const { return held_blocks_; }
  uint64_t table_blocks() const;  // of a group
  // Errors: kInterrupted.
  Result<void> poll() const;

  // All of these have the errors kCorruption (also where the image ends before) and those of Image.
  Result<void> read(uint64_t offset, std::span<std::byte> out);       // for small pieces
  Result<void> read_data(uint64_t offset, std::span<std::byte> out);  // keeps nothing
  Result<void> read_block(uint64_t block, RawBytes& out);
  // Requires: index < groups.
  Result<Group> group(uint32_t index);
  // Requires: 0 < id <= inodes.
  Result<Inode> inode(uint32_t id);
  Result<bool> is_used(uint32_t id);

 private:
  static constexpr uint64_t kPageBytes = 8 * kKiB;
  struct Page {
    uint64_t start = UINT64_MAX;
    RawBytes bytes;
  };

  Result<void> check_ends();
  void warn_of_state();
  Result<const Page*> page(uint64_t start);

  Image& image_;
  const Cancel& cancel_;
  Superblock superblock_;
  uint64_t held_blocks_ = 0;
  std::vector<std::string> warnings_;
  bool warned_of_group_ = false;
  std::array<Page, 64> pages_;  // by the page's number
};

}  // namespace snaptool::ext
