// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/file_change.h"

#include <array>

namespace snaptool::ops {

std::string_view name_of(FileChangeKind kind) {
  constexpr std::array<std::string_view, kFileChangeKinds> kNames = {
      "created", "deleted", "modified", "changed", "renamed", "linked", "unlinked"};
  return kNames.at(static_cast<size_t>(kind));
}

std::string_view name_of(FileField field) {
  constexpr std::array<std::string_view, 15> kNames = {
      "name",  "inode",    "content", "target",   "size",    "mode",       "owner",    "group",
      "links", "modified", "changed", "accessed", "created", "attributes", "encrypted"};
  return kNames.at(static_cast<size_t>(field));
}

}  // namespace snaptool::ops
