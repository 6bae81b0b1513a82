// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/file_system.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/progress.h"
#include "libsnap/ops/changed_ranges.h"
#include "libsnap/ops/file_change.h"

namespace snaptool::ops {

// What could not be read; the first ones are kept.
class Problems {
 public:
  // `what`: the path or whatever it is of.
  void add(std::string_view what, const Error& error);
  // An error only for what is none of damage.
  Result<void> note(std::string_view what, const Result<void>& result);
  std::vector<std::string>& kept() { return kept_; }
  uint64_t count() const { return count_; }

 private:
  std::vector<std::string> kept_;
  uint64_t count_ = 0;
};

// Finds out what differs between two versions of a file.
class FileJudge {
 public:
  // `changed`: where the content of a file did not change unless it lies there; nullptr: all
  // content is read. Requires: all outlive it.
  FileJudge(access::FileSystem& before, access::FileSystem& after, const ChangedRanges* changed,
            Problems& problems, const Job& job)
      : before_(before), after_(after), changed_(changed), problems_(problems), job_(job) {}

  // Fills fields, sums and targets. Requires: both are there, and of one type.
  Result<void> compare(FileChange& change);
  // Fills the sum or target of a version that has no other. `is_after`: of which state.
  Result<void> complete(FileVersion& version, bool is_after);
  // Fills the runs of a version.
  Result<void> add_runs(FileVersion& version, bool is_after);

 private:
  Result<bool> same_place(const access::FileNode& before, const access::FileNode& after);
  Result<void> compare_content(FileChange& change);
  Result<void> compare_stored(FileChange& change);
  Result<void> read_target(FileVersion& version, access::FileSystem& files);
  Result<void> hash(FileVersion& version, access::FileSystem& files);
  Result<bool> is_mostly_holes(const FileVersion& version, access::FileSystem& files);
  Result<std::string> hash_stored(const FileVersion& version, access::FileSystem& files);

  access::FileSystem& before_;
  access::FileSystem& after_;
  const ChangedRanges* const changed_;
  Problems& problems_;
  const Job& job_;
  RawBytes buffer_;
};

}  // namespace snaptool::ops
