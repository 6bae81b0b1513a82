// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "libsnap/io/file.h"

namespace snaptool {

// Where a file has data and where it has holes, each extent asked for once: to ask costs a file
// system time that grows with the file's extents, wherever the question begins.
//
// Several threads may ask at once. What is written to the file later, it may not know of: data may
// be taken for a hole. Memory: bounded; what was asked for long ago is asked for again.
class ExtentMap {
 public:
  // Requires: `file` outlives this.
  explicit ExtentMap(File& file) : file_(file) {}

  // From `offset` on, at most `limit` bytes, all data or all holes.
  // Requires: offset < file.size(), limit > 0. Errors: those of File::extent_at.
  struct Run {
    uint64_t length = 0;  // bytes, at least 1
    bool hole = false;
  };
  Result<Run> run_at(uint64_t offset, uint64_t limit);

 private:
  struct Known {
    uint64_t end = 0;
    bool hole = false;
  };

  File& file_;
  std::mutex mutex_;
  std::map<uint64_t, Known> known_;  // by where they begin; guarded by mutex_
};

}  // namespace snaptool
