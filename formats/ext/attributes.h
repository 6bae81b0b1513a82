// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "formats/ext/layout.h"

namespace snaptool::ext {

// Extended attributes. Pure: over an inode, and over its block of them.

struct Attribute {
  uint8_t prefix = 0;  // 1: "user.", 2 and 3: the ACLs, 4: "trusted.", 6: "security.", 7: "system."
  std::string_view name;  // what follows the prefix
  Bytes value;            // none if another inode has it
  uint32_t value_inode = 0;
  uint32_t value_size = 0;
  uint32_t hash = 0;
};

using VisitAttribute = std::function<Result<void>(const Attribute&)>;

// Those in an inode. Errors: kCorruption; those of visit.
Result<void> visit_inode_attributes(const Inode& inode, const VisitAttribute& visit);
// Those in a block. Errors: the same, also where its sum is wrong.
Result<void> visit_block_attributes(Bytes block, uint64_t number, const Superblock& superblock,
                                    const VisitAttribute& visit);
// What of inline content does not fit into the inode's map. Errors: kCorruption.
Result<std::vector<std::byte>> inline_rest(const Inode& inode);

// A number over them that does not depend on their order, for FileNode::metadata_sum.
uint64_t attribute_sum(const Attribute& attribute);

}  // namespace snaptool::ext
