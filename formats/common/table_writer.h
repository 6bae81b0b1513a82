// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/base/io_bytes.h"
#include "libsnap/io/file.h"

namespace snaptool {

// Writes a table of small entries front to back, a piece of it in memory; entries that are not set
// get what stands for nothing.
class TableWriter {
 public:
  // `offset`: of the table in the file, bytes. `absent`: the bytes of an entry that is not set.
  TableWriter(File& file, uint64_t offset, std::vector<std::byte> absent)
      : file_(file), offset_(offset), absent_(std::move(absent)) {}

  // Requires: the index is larger than that before; `entry` is as long as `absent`. Errors: File's.
  Result<void> set(uint64_t index, std::span<const std::byte> entry);
  // The table then has `entries`. Requires: no index reaches that. Errors: File's.
  Result<void> finish(uint64_t entries);

 private:
  static constexpr size_t kPiece = 64 * kKiB;
  Result<void> fill_to(uint64_t index);
  Result<void> write_piece();

  File& file_;
  uint64_t offset_;  // of what is in memory
  std::vector<std::byte> absent_;
  uint64_t next_ = 0;
  RawBytes piece_;
};

}  // namespace snaptool
