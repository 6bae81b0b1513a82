// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "libsnap/io/file.h"
#include "tests/support/model.h"

namespace snaptool::test {

// Files as the kernel keeps them: each with its medium, and a page cache before it, which outlives
// a process. Three things go wrong:
//
// - a flush fails: any of the sectors that were to be written arrive, the others never do; reads go
//   on showing them, and no later flush brings them, unless they are written again;
// - the process is killed: what it wrote is in the cache, and the next flush brings it;
// - the power is cut: the medium stays, and any of the sectors that wait for a flush are there.
class CachedDisk {
 public:
  explicit CachedDisk(uint64_t seed);
  ~CachedDisk();

  // Returns the file, which this keeps.
  File& add(const std::string& name, const Bytes& content);

  enum class Trouble { kNone, kFailedFlush, kKill, kPowerCut };
  // A new process begins, in which that happens at flush `flush` (0: its first one).
  void begin_process(Trouble trouble, size_t flush);
  // Flushes that reached the kernel in this process, and whether its trouble came.
  size_t flushes() const { return flushes_; }
  bool had_trouble() const { return had_trouble_; }

  // What the media have, in the order of add.
  std::vector<Bytes> media() const;
  // The same after a power cut now.
  std::vector<Bytes> cut();
  // Called before and after each flush that reaches the kernel.
  std::function<void()> watcher;

  // Mutants of what the library promises.
  bool skips_clean_flushes = false;  // a file that this process did not write to is not flushed
  bool reads_the_cache = false;      // what is to come from the medium comes from the cache

 private:
  class Cached;
  Result<void> flush(Cached& file);

  std::mutex mutex_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Cached>> files_;
  Trouble trouble_ = Trouble::kNone;
  size_t when_ = 0;
  size_t flushes_ = 0;
  bool had_trouble_ = false;
  bool killed_ = false;
};

}  // namespace snaptool::test
