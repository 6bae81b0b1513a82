// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/result.h"

namespace snaptool {

// Reads of an open file or block device that go past the page cache (O_DIRECT), through a
// descriptor of their own. The file's own pages are written back first, where they are dirty.
class DirectReader {
 public:
  // nullptr where the file does not take such reads, or does not say so: there are file systems
  // that take the flag and use the cache all the same. (statx says it since Linux 6.1.)
  static std::unique_ptr<DirectReader> open(int fd);
  ~DirectReader();
  DirectReader(const DirectReader&) = delete;
  DirectReader& operator=(const DirectReader&) = delete;

  // Fills `out`. Several threads may read at once. Requires: the range lies within the file, which
  // is called `name`. Errors: kIo; kCorruption when the file became shorter.
  Result<void> read_at(uint64_t offset, std::span<std::byte> out, const std::string& name);

 private:
  DirectReader(int fd, uint64_t offset_align, uint64_t memory_align);
  bool fits(uint64_t offset, std::span<const std::byte> out) const;
  Result<uint64_t> read_some(uint64_t offset, std::span<std::byte> out, const std::string& name);

  int fd_;
  uint64_t offset_align_;  // bytes; of offsets and lengths
  uint64_t memory_align_;  // bytes; of buffers
  BufferPool buffers_;
};

// Asks the kernel to forget what its page cache has of a range (length 0: to the end). Requires: it
// was flushed; what was not stays. The kernel keeps large pages that the range covers in part.
void drop_pages(int fd, uint64_t offset, uint64_t length);
// How many pages of the range are in the page cache; nullopt where that cannot be told.
std::optional<uint64_t> cached_pages(int fd, uint64_t offset, uint64_t length);

}  // namespace snaptool
