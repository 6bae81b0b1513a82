// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "libsnap/ops/file_judge.h"

namespace snaptool::ops {

// A file of one of two states, by one of its names.
struct NamedFile {
  std::string path;
  access::FileNode node;
};

// Files of two states that have no counterpart in their place: those that are one file, renamed,
// and those that remain alone.
struct FileMatches {
  std::vector<std::pair<NamedFile, NamedFile>> pairs;
  std::vector<NamedFile> before;
  std::vector<NamedFile> after;
};

// All take the first of several that are alike.

// Those of one number.
FileMatches match_by_id(std::vector<NamedFile> before, std::vector<NamedFile> after);
// Folders that begin in the same place, and were made at the same time. What cannot be read matches
// nothing.
FileMatches match_by_place(access::FileSystem& before_files, std::vector<NamedFile> before,
                           access::FileSystem& after_files, std::vector<NamedFile> after);
// Those of one type, size and content or target, if they have any. Errors: those of
// FileJudge::complete.
Result<FileMatches> match_by_content(FileJudge& judge, std::vector<NamedFile> before,
                                     std::vector<NamedFile> after);

}  // namespace snaptool::ops
