// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/hfsplus/tree.h"

namespace snaptool::hfsplus {

// The volume's header, its own files and its three trees.
class Volume {
 public:
  // Requires: both outlive it.
  Volume(Image& image, const Cancel& cancel) : pages_(image, cancel), ground_{pages_} {}
  // Before anything else. Errors: kCorruption, kUnsupported, those of Image.
  Result<void> open();

  const VolumeHeader& header() const { return header_; }
  const Ground& ground() const { return ground_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  Tree& catalog() { return catalog_; }
  Tree& extents() { return extents_; }
  Tree& attributes() { return attributes_; }
  uint64_t size() const { return uint64_t{header_.blocks} * header_.block_size; }

  // The extents of a fork from the one on that has the block `from`: visit(its first block in the
  // fork, extent) returns whether to go on. Errors: kCorruption; kInterrupted; those of Image and
  // of visit.
  using VisitExtent = std::function<Result<bool>(uint64_t first, const BlockExtent& extent)>;
  Result<void> walk_extents(const Fork& fork, uint32_t id, bool is_resource, uint64_t from,
                            const VisitExtent& visit);

  // As access::FileSystem::space_at. Requires: offset < base + size().
  Result<std::pair<access::SpaceKind, uint64_t>> space_at(uint64_t offset);

 private:
  struct Use {
    uint64_t start = 0;  // in the image
    uint64_t end = 0;
    access::SpaceKind kind = access::SpaceKind::kMetadata;
  };

  Result<std::vector<BlockExtent>> all_extents(const Fork& fork, uint32_t id);
  Result<void> open_own_files();
  void warn_of_state();
  Result<void> look_at_journal();
  Result<void> look_at_journal_header(uint64_t offset, uint64_t size);
  void add_use(const OwnFile& file, access::SpaceKind kind);
  void sort_uses();

  ImagePages pages_;
  Ground ground_;
  VolumeHeader header_;
  std::vector<std::string> warnings_;
  OwnFile allocation_;
  OwnFile startup_;
  Tree extents_;
  Tree catalog_;
  Tree attributes_;
  std::vector<Use> uses_;  // in order
  uint64_t bitmap_at_ = UINT64_MAX;
  std::vector<std::byte> bitmap_;
};

}  // namespace snaptool::hfsplus
