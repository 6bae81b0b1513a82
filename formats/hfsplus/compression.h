// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "formats/hfsplus/layout.h"
#include "libsnap/base/deflate.h"

namespace snaptool::hfsplus {

// What an attribute com.apple.decmpfs says: a file whose content is compressed, in the attribute or
// in its resource fork.
struct Compression {
  uint32_t type = 0;
  uint64_t size = 0;              // of the content
  std::vector<std::byte> within;  // what the attribute has of it
  bool is_in_fork() const {
    return type == 4 || type == 8 || type == 10 || type == 12 || type == 14;
  }
};

// Errors: kCorruption.
Result<Compression> parse_compression(Bytes value);

// Reads a compressed file; one block of it is kept.
class Unpacker {
 public:
  // The resource fork: fills all of `out`.
  using ReadFork = std::function<Result<void>(uint64_t offset, std::span<std::byte> out)>;
  // Requires: the range lies within compression.size; `id` tells files apart.
  // Errors: kUnsupported for other types than 1, 3 and 4; kCorruption; those of read_fork.
  Result<void> read(uint32_t id, const Compression& compression, uint64_t fork_size,
                    const ReadFork& read_fork, uint64_t offset, std::span<std::byte> out);

 private:
  Result<void> unpack(Bytes packed, uint64_t size, uint32_t id);
  Result<void> load(uint32_t id, const Compression& compression, uint64_t fork_size,
                    const ReadFork& read_fork, uint64_t block);

  Inflater inflater_;
  uint32_t kept_id_ = 0;  // 0: none
  uint64_t kept_block_ = 0;
  std::vector<std::byte> kept_;
};

}  // namespace snaptool::hfsplus
