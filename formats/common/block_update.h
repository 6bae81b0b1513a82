// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "formats/common/early_writeback.h"
#include "libsnap/access/image_writer.h"
#include "libsnap/io/file.h"

namespace snaptool {

// Writes sectors into an image of blocks, in place, as access::ImageDriver::update wants it. A
// block that has no place gets one at the end of the file: zeros, durably, before the image's table
// names it, and named, durably, before data go there. So nothing but zeros is ever where no block
// is: other programs put theirs there, and take it for zeros.
class BlockUpdate : public access::ImageWriter {
 public:
  // Requires: `file` outlives this.
  BlockUpdate(File& file, uint64_t block_size)
      : file_(file), block_size_(block_size), writeback_(file) {}

  uint64_t unit_size() const final { return kSectorSize; }
  uint64_t piece_size() const final { return kMiB; }
  Result<void> place(access::WritePiece& piece) final;
  Result<void> write(access::WritePiece& piece) final { return writeback_.write(piece); }
  Result<void> finish() final;

 protected:
  File& file() { return file_; }

 private:
  // Before the first write. Errors of all: those of File; kCorruption; kNoSpace.
  virtual Result<void> start() { return {}; }
  // Where the block's data are in the file; nothing: nowhere.
  virtual Result<std::optional<uint64_t>> find(uint64_t block) = 0;
  // Makes the file longer by a block that shows the same as none. Returns where it is.
  virtual Result<uint64_t> append() = 0;
  // These bytes of the block that was found or appended last are its own from now on.
  virtual void take(uint64_t /*within*/, uint64_t /*length*/) {}
  // No more of that block comes.
  virtual Result<void> leave() { return {}; }
  // Notes in the image's table where a block is that was appended, and is durable.
  virtual Result<void> note(uint64_t block, uint64_t place) = 0;
  // All is durable.
  virtual Result<void> end() { return {}; }

  struct Block {
    uint64_t number = 0;
    uint64_t place = 0;
  };

  Result<void> go_to(uint64_t block);

  File& file_;
  const uint64_t block_size_;
  EarlyWriteback writeback_;
  bool started_ = false;
  std::optional<Block> block_;  // that is written to
};

// That they lie in the file, and apart from each other: a write to one changes no other. Errors:
// kCorruption.
Result<void> check_apart(const File& file, std::vector<ByteRange> ranges);

}  // namespace snaptool
