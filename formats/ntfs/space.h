// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "formats/ntfs/streams.h"

namespace snaptool::ntfs {

// What the clusters of a file system are used for. The runs of its system files are kept.
class Space {
 public:
  explicit Space(Volume& volume, StreamReader& reader) : volume_(volume), reader_(reader) {}
  // As access::FileSystem::space_at. Requires: offset lies within the file system.
  Result<std::pair<access::SpaceKind, uint64_t>> at(uint64_t offset);

 private:
  struct Table {
    uint64_t first = 0;  // clusters
    uint64_t end = 0;
    access::SpaceKind kind = access::SpaceKind::kMetadata;
  };

  Result<void> prepare();
  Result<void> add_file(uint64_t id);
  void sort_tables();
  Result<void> load_bitmap();

  Volume& volume_;
  StreamReader& reader_;
  bool prepared_ = false;
  std::vector<Table> tables_;  // in order, none on another
  std::shared_ptr<const File> bitmap_file_;
  std::optional<BitReader> bits_;
  Damage bitmap_damage_;  // why there are none
};

}  // namespace snaptool::ntfs
