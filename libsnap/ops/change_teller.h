// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "libsnap/ops/diff_files.h"
#include "libsnap/ops/match_files.h"

namespace snaptool::ops {

// One of two states of a file system that are compared.
struct FileState {
  FileState(access::FileSystem& system, const ChangedRanges& changed, bool later)
      : files(system), owners(system, changed), is_after(later) {}

  access::FileSystem& files;
  Owners owners;
  const bool is_after;
  std::unordered_map<uint64_t, std::string> names;  // of owners
};

// Finds out what became of files whose counterpart is known, and tells it.
class ChangeTeller {
 public:
  // Requires: all outlive it.
  ChangeTeller(FileState& before, FileState& after, const FileDiffOptions& options,
               const FileDiffVisitor& visitor, FileJudge& judge, Problems& problems)
      : before_(before),
        after_(after),
        options_(options),
        visitor_(visitor),
        judge_(judge),
        problems_(problems) {}

  // The owners are complete: no file is asked any more which ranges are its own.
  void set_owners_known() { owners_known_ = true; }

  // A file that is there in both states; nothing is told if it is the same. `kind`: what it is
  // unless its content is another. `same_file`: it is no other one that took its name.
  Result<void> tell_pair(const NamedFile& before, const NamedFile& after, FileChangeKind kind,
                         bool same_file);
  // A name that is there in one state only.
  Result<void> tell_lone(FileState& state, const NamedFile& file, FileChangeKind kind);
  // After all files: whose the changed ranges were and are.
  Result<void> tell_pieces(const ChangedRanges& changed, const Cancel& cancel);

  const std::array<uint64_t, kFileChangeKinds>& changes() const { return changes_; }

 private:
  Result<void> note(FileState& state, const NamedFile& file);
  Result<void> tell(const FileChange& change);

  FileState& before_;
  FileState& after_;
  const FileDiffOptions& options_;
  const FileDiffVisitor& visitor_;
  FileJudge& judge_;
  Problems& problems_;
  bool owners_known_ = false;
  std::array<uint64_t, kFileChangeKinds> changes_{};
};

}  // namespace snaptool::ops
