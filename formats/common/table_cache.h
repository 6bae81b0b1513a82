// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "libsnap/base/endian.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/io/file.h"

namespace snaptool {

// Tables of numbers in a file, of which some pages are kept in memory. Several threads
// may read at once.
class TableCache {
 public:
  // Requires: `file` outlives this.
  explicit TableCache(File& file) : file_(file) {}

  // Reads one thread's numbers; remembers the page that it read from last.
  class Cursor {
   public:
    explicit Cursor(TableCache& cache) : cache_(cache) {}
    // The number at `offset`, a multiple of its size. Errors: kCorruption past the end; kIo.
    template <typename T>
    Result<T> be(uint64_t offset) {
      SNAP_ASSIGN(const std::byte* const at, bytes(offset, sizeof(T)));
      return load_be<T>(at);
    }
    template <typename T>
    Result<T> le(uint64_t offset) {
      SNAP_ASSIGN(const std::byte* const at, bytes(offset, sizeof(T)));
      return load_le<T>(at);
    }

   private:
    // They stay until the next call.
    Result<const std::byte*> bytes(uint64_t offset, uint64_t size);

    TableCache& cache_;
    std::shared_ptr<const RawBytes> page_;
    uint64_t start_ = 0;
  };

 private:
  // No more than what a table at least has: a hostile image has each elsewhere.
  static constexpr uint64_t kPageBytes = 4 * kKiB;
  struct Slot {
    uint64_t start = UINT64_MAX;
    std::shared_ptr<const RawBytes> page;
  };

  Result<std::shared_ptr<const RawBytes>> page(uint64_t start);

  File& file_;
  std::mutex mutex_;             // guards what follows
  std::array<Slot, 256> slots_;  // by the page's number
};

}  // namespace snaptool
