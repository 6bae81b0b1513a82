// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <vector>

#include "formats/common/image_pages.h"
#include "formats/iso9660/rock_ridge.h"

namespace snaptool::iso9660 {

// An image's file system: which of its trees is read, how, and its bytes. Of these, some pages are
// kept.
class Volume {
 public:
  // Requires: both outlive it.
  Volume(Image& image, const Cancel& cancel) : pages_(image, cancel) {}
  // Before anything else. Errors: kCorruption, kUnsupported, those of Image.
  Result<void> open();

  // The one whose tree is read.
  const Descriptor& descriptor() const { return descriptors_[chosen_]; }
  const SharingRules& rules() const { return rules_; }
  ImagePages& pages() { return pages_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t block_bytes() const { return descriptor().block_bytes; }
  uint64_t size() const { return size_; }
  const std::string& uuid() const { return descriptors_.front().uuid; }
  // Whether the byte there is one of descriptors, path tables, or the list of what boots (all else
  // is taken for files'), and up to where. Requires: offset < size().
  std::pair<bool, uint64_t> metadata_at(uint64_t offset) const;
  // Once: a number is not the same in both byte orders.
  void warn_of_orders(uint64_t at);

  // Where the content of a record lies. Errors: kCorruption where that is outside.
  Result<uint64_t> place_of(const Record& record) const;
  // What a record has behind its name. `is_root`: the root's record of itself. Errors: kCorruption;
  // what was before the damage is in it.
  Result<void> read_rock_ridge(const Record& record, bool is_root, RockRidge& rock);
  // Reading of what does not fit into records is limited; from here on, anew.
  void reset_limit() { continued_bytes_ = 0; }

 private:
  Result<void> read_descriptors();
  Result<void> check_descriptors() const;
  void note_descriptor(Bytes bytes, uint64_t at);
  bool has_primary() const;
  Result<void> look_for_udf(uint64_t at);
  Result<void> choose();
  Result<bool> has_rock_ridge();
  Result<bool> is_empty(const Descriptor& descriptor);
  void settle_size();
  void settle_metadata();
  Result<void> warn_of_partitions();
  void warn_of_other_trees();
  Result<Record> root_of(const Descriptor& descriptor);
  Result<void> read_chain(RockRidge& rock, Continuation next);

  ImagePages pages_;
  std::vector<Descriptor> descriptors_;  // the first: the primary one, or where there is none
  std::optional<Error> descriptor_error_;
  size_t chosen_ = 0;
  SharingRules rules_;
  uint64_t size_ = 0;
  uint64_t head_bytes_ = 0;  // at the beginning, that no file has
  std::optional<uint32_t> boot_catalog_;
  std::vector<std::pair<uint64_t, uint64_t>> metadata_;  // from, to; in order, with gaps
  uint64_t continued_bytes_ = 0;
  std::vector<std::string> warnings_;
  bool warned_of_orders_ = false;
};

}  // namespace snaptool::iso9660
