// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ntfs/volume.h"

namespace snaptool::ntfs {

// Files that are no more, whose records are still legible, by the folder that they were in. They
// are looked for once, in all of the MFT; so many are kept that it takes 16 MiB at most.
class FreeFiles {
 public:
  explicit FreeFiles(Volume& volume) : volume_(volume) {}
  // Errors: kInterrupted, those of Image.
  Result<void> prepare();
  // Records of those that were in the folder. Requires: it is prepared.
  std::vector<uint64_t> in_folder(uint64_t folder) const;

 private:
  struct Child {
    uint64_t folder = 0;
    uint64_t record = 0;
    friend auto operator<=>(const Child&, const Child&) = default;
  };
  static constexpr size_t kMostChildren = 1U << 20U;

  Volume& volume_;
  bool prepared_ = false;
  std::vector<Child> children_;  // ascending
};

}  // namespace snaptool::ntfs
