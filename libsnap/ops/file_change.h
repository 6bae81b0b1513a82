// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/access/file_system.h"

namespace snaptool::ops {

// What became of a file between two states of a file system.

enum class FileChangeKind : uint8_t {
  kCreated,
  kDeleted,
  kModified,  // its content
  kChanged,   // what is told of it
  kRenamed,   // or moved, whatever else of it changed; what is in a folder goes with it
  kLinked,    // it has one more name
  kUnlinked,  // it has one name less
};
inline constexpr size_t kFileChangeKinds = 7;
std::string_view name_of(FileChangeKind kind);  // "created"

enum class FileField : uint8_t {
  kName,
  kInode,  // another one has its name
  kContent,
  kTarget,  // of a link
  kSize,
  kMode,
  kOwner,
  kGroup,
  kLinks,
  kModified,
  kChanged,
  kAccessed,
  kCreated,
  kAttributes,  // what FileNode::metadata_sum is over
  kEncrypted,
};
std::string_view name_of(FileField field);  // "content"

// A file in one of the two states.
struct FileVersion {
  std::string path;
  access::FileNode node;
  std::string sha256;  // of its content, where that is new, gone or another; else empty
  std::string target;  // of a link
  std::vector<access::FileRun> runs;  // if they are asked for; the first 65536
};

struct FileChange {
  FileChangeKind kind = FileChangeKind::kChanged;
  std::vector<FileField> fields;  // that differ; none of what is there in one state only
  std::optional<FileVersion> before;
  std::optional<FileVersion> after;
};

}  // namespace snaptool::ops
