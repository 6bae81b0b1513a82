// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "libsnap/base/sha256.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Blocks of an image that a chain of diffs does not write to: while it is applied, they tell
// whether it is still the same image.
class UntouchedBlocks {
 public:
  // Blocks all over the first `size` bytes.
  explicit UntouchedBlocks(uint64_t size);
  // Leaves out those that are written to. Requires: ranges come in ascending order.
  void touch(uint64_t offset, uint64_t length);
  // Of those that are left, places and content. Requires: image.size() >= size. Errors: those of
  // Image.
  Result<Sha256::Digest> sum(Image& image) const;

 private:
  struct Block {
    uint64_t offset = 0;
    uint64_t length = 0;
    bool touched = false;
  };
  std::vector<Block> blocks_;
  size_t next_ = 0;  // those before it lie before all ranges to come
};

}  // namespace snaptool
