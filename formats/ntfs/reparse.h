// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ntfs/layout.h"

namespace snaptool::ntfs {

// Reparse points, which say that a file is something else. Pure.

struct Reparse {
  uint32_t tag = 0;
  std::optional<access::NodeType> type;  // instead of the file's or folder's own
  std::optional<std::string> target;     // of a link; nothing: it is broken
  // Why the file's content is not what its stream has; empty: it is.
  std::string_view elsewhere;
};

// `dos`: the file's attributes. Errors: kCorruption.
Result<Reparse> parse_reparse(Bytes value, uint32_t dos);

// The link that Interix, or NTFS-3G, makes of a file with the attribute "system"; nothing: it is
// none, but what else such a file stands for is in `type`.
std::optional<std::string> parse_interix(Bytes content, std::optional<access::NodeType>& type);

inline constexpr size_t kMostReparseBytes = 16 * 1024;

}  // namespace snaptool::ntfs
