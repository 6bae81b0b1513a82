// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>

#include "formats/iso9660/volume.h"

namespace snaptool::iso9660 {

// A file as its folder has it: one record, or several that follow one another.
struct Listed {
  struct Section {
    uint64_t place = 0;  // bytes, in the image
    uint64_t length = 0;
  };

  Record record;  // the first
  std::vector<Section> sections;
  uint64_t size = 0;
  std::optional<Error> unreadable;  // why its content cannot be read
};

// A folder's records lie together, and no others among them.
struct FolderPlace {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t id = 0;  // the record that leads to it

  bool has(uint64_t at) const { return start <= at && at < end; }
};

// The folders that were come to. Each may lie on no other one, and have one record that leads to
// it: so a walk over all of them ends, and takes no longer than the image is large.
class Folders {
 public:
  explicit Folders(Volume& volume) : volume_(volume) {}

  // Notes that it is there. Errors: kCorruption where another one is; kUnsupported for too many.
  Result<void> claim(const FolderPlace& place);
  // The one whose records are there.
  std::optional<FolderPlace> find(uint64_t at) const;

  // Whatever is in a folder, from a sector of it on, but itself and its parent, until visit says
  // that it is enough. What comes after damage is left out, up to the next sector. Errors: those of
  // visit, those of Image, kInterrupted.
  Result<void> visit(const FolderPlace& place, uint64_t from, Damage& damage,
                     const std::function<Result<bool>(Listed&)>& visit);
  // The one whose first record is there. Nothing: there is none. Errors: as above.
  Result<std::optional<Listed>> find_file(const FolderPlace& place, uint64_t at);

 private:
  class Reader;

  Volume& volume_;
  std::map<uint64_t, FolderPlace> places_;  // by their end
};

}  // namespace snaptool::iso9660
