// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "formats/hfsplus/compression.h"
#include "formats/hfsplus/volume.h"

namespace snaptool::hfsplus {

// What the extended attributes of a file or folder say.
struct AttributeFacts {
  uint32_t id = 0;
  uint64_t sum = 0;  // over all but the one of compression; does not depend on their order
  bool is_encrypted = false;
  std::optional<Compression> compression;
};

// Files and folders, by number and by name. Some of those that were looked at are kept.
class Catalog {
 public:
  // Requires: `volume` outlives it.
  explicit Catalog(Volume& volume) : volume_(volume) {}
  // Finds out where hard links lead to. Errors: those of Tree.
  Result<void> open();

  // Errors: kNotFound, kCorruption, those of Image.
  Result<CatalogRecord> record(uint32_t id);
  // What a name leads to: itself, or what a hard link is one of the names of.
  Result<CatalogRecord> resolve(const CatalogRecord& name);
  // Whether it is one whose `special` counts its names.
  bool is_indirect(const CatalogRecord& record) const;
  std::string folder_link_target(const CatalogRecord& link) const;
  Result<const AttributeFacts*> attributes(uint32_t id);
  // Extents of the large values among them; visit(extent). Returns how many records it looked at.
  // Errors: kCorruption, those of Image and of visit.
  Result<uint64_t> visit_attribute_extents(
      uint32_t id, const std::function<Result<void>(const BlockExtent&)>& visit);
  // Reading of large values is limited; from here on, anew.
  void reset_limit() { large_bytes_ = 0; }
  void keep(const CatalogRecord& record);
  std::string label() const { return label_; }

 private:
  Result<std::optional<CatalogRecord>> by_key(Bytes key);
  // A value that lies in blocks of its own, as its records are come to.
  struct LargeValue {
    std::vector<std::byte> name;
    uint64_t size = 0;
    uint64_t place_sum = 0;  // over its size and where it lies
    uint64_t blocks = 0;
    std::vector<BlockExtent> extents;
    bool has_gap = false;
  };

  Result<uint64_t> walk_attributes(uint32_t id,
                                   const std::function<Result<void>(const TreeRecord&)>& visit);
  Result<void> add_attribute(const TreeRecord& record, AttributeFacts& facts,
                             std::optional<LargeValue>& large);
  static void add_extents(const TreeRecord& record, LargeValue& large);
  Result<uint64_t> sum_of(const LargeValue& value);

  Volume& volume_;
  std::string label_;
  uint32_t links_folder_ = 0;  // 0: there are no hard links
  std::array<std::optional<CatalogRecord>, 64> kept_;
  std::array<AttributeFacts, 64> facts_;
  // Of those that have many or large ones, so that no file that is there many times is looked at as
  // often.
  std::map<uint32_t, AttributeFacts> large_facts_;
  uint64_t large_bytes_ = 0;  // of large values that were read
};

}  // namespace snaptool::hfsplus
