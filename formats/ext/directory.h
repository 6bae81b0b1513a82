// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "formats/ext/layout.h"

namespace snaptool::ext {

// The entries of folders. Pure: over blocks in memory.

struct FolderRules {
  uint32_t id = 0;  // the folder
  uint32_t inodes = 0;
  bool has_types = true;
  bool is_indexed = false;
  bool is_encrypted = false;  // its names are any bytes
  bool wants_deleted = false;
};

struct FolderEntry {
  uint32_t id = 0;
  access::NodeType type = access::NodeType::kOther;
  std::string_view name;
  bool deleted = false;
};

using VisitEntry = std::function<Result<void>(const FolderEntry&)>;

// All but "." and ".." of a block, or of a piece of inline content. What comes after damage is left
// out; `damage` says so. Errors: those of visit.
Result<void> visit_block_entries(Bytes block, const FolderRules& rules, Damage& damage,
                                 const VisitEntry& visit);
// Whether the block's sum is right, or it is one of an index, whose sums are not looked at.
bool is_folder_sum(Bytes block, bool is_first, const Inode& inode, const Superblock& superblock);

}  // namespace snaptool::ext
