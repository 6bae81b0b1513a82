// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/file_system.h"
#include "libsnap/base/progress.h"
#include "libsnap/ops/changed_ranges.h"
#include "libsnap/ops/file_change.h"
#include "libsnap/ops/space_use.h"

namespace snaptool::ops {

// Which files differ between two states of a file system, name by name.

// A part of a changed range, with the files whose it was and is.
struct FilePiece {
  ChangedPiece piece;
  std::string_view path_before;  // empty: no file's
  std::string_view path_after;
};

struct FileDiffOptions {
  bool runs = false;  // are told
  bool full = false;  // read and compare all of both, whatever the ranges say
  // Where the two differ, in bytes of the file system; nullptr: not known, all is compared.
  const ChangedRanges* changed = nullptr;
};

struct FileDiffVisitor {
  // In no order that means anything, but the same each time.
  std::function<Result<void>(const FileChange&)> change;
  // In order, after all changes; not where the ranges are not known.
  std::function<Result<void>(const FilePiece&)> piece;
};

struct FileDiffSummary {
  std::array<uint64_t, kFileChangeKinds> changes{};
  // Why not all could be compared: what is told may lack files. The first ones.
  std::vector<std::string> problems;
  uint64_t problem_count = 0;

  uint64_t count(FileChangeKind kind) const { return changes.at(static_cast<size_t>(kind)); }
  bool equal() const;
};

// Compares two states of a file system, or two file systems. In one (of one type and UUID) whose
// nodes have stable numbers, a file is the same one by its number, its generation and its type;
// unless a new one with no name of it took its number (other content, and made at another time or of
// another size); else by its path, and a file that is gone and one that is new are one that was renamed if their
// content is the same. With `changed`, and where the layout is the same, only nodes, folders and
// files are read that the ranges touch, and of the other folders of the first state their names:
// complete but for what only bitmaps tell of nodes. Memory grows with the number of folders and of
// changes. Errors: those of access::FileSystem, without kCorruption, which is a problem in the
// summary; those of the visitor; kInterrupted.
Result<FileDiffSummary> diff_files(access::FileSystem& before, access::FileSystem& after,
                                   const FileDiffOptions& options, const FileDiffVisitor& visitor,
                                   const Job& job);

}  // namespace snaptool::ops
