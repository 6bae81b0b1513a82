// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "libsnap/io/file.h"

namespace snaptool::access {

// Where the journal of an apply to a file goes: beside the file itself, whatever link names it.
std::string apply_journal_of(const std::string& path);
// The journal of an apply to a file that has not finished: the one beside it, or the one that its
// mark names, if that is of this very file. Nothing where there is none.
std::optional<std::string> pending_apply_of(const std::string& path);
// What the file's mark names, if it is the journal of an apply, to whichever file.
std::optional<std::string> marked_journal_of(const std::string& path);

// What tells a file from all others.
struct FileMark {
  FileId id;
  uint64_t born = 0;  // ns since 1970; 0 where the file system does not say
};
// Zeros where there is none.
FileMark mark_of(const std::string& path);

// The mark is an extended attribute, which goes with the file when it is renamed, and is found by
// its other hard links. Where the file system has none (nor a device), only the name tells.
void mark_pending_apply(const std::string& path, const std::string& journal);
void unmark_pending_apply(const std::string& path);

}  // namespace snaptool::access
