// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/file_system.h"
#include "libsnap/ops/changed_ranges.h"

namespace snaptool::ops {

// What bytes of a file system are used for.
enum class Use : uint8_t {
  kContent,    // of a file or folder
  kSlack,      // past a file's end, in its last block
  kStructure,  // where a file's content is told of, its attributes
  kNodes,
  kMetadata,
  kJournal,
  kFree,
  kNameless,  // used, by no file that has a name
  kBeyond,    // the end of the file system
  kUnknown,   // what tells of it is damaged
};

struct SpaceUse {
  Use use = Use::kUnknown;
  uint64_t id = 0;  // of content, slack and structures
  friend bool operator==(const SpaceUse&, const SpaceUse&) = default;
};

// Which files the changed ranges of one state belong to. Memory grows with the runs of files that
// changed.
class Owners {
 public:
  // Requires: both outlive it.
  Owners(access::FileSystem& files, const ChangedRanges& changed)
      : files_(files), changed_(changed) {}

  // The node's runs and structures that lie in changed ranges; whether there are any. Errors: those
  // of FileSystem.
  Result<bool> add(const access::FileNode& node);
  // After all are added, before they are asked.
  void seal();
  // What the byte is used for, and up to which one at least; at most `limit`. Errors: those of
  // FileSystem, without kCorruption.
  Result<std::pair<SpaceUse, uint64_t>> use_at(uint64_t offset, uint64_t limit);
  bool owns_any(uint64_t id) const { return ids_.contains(id); }

 private:
  struct Owned {
    uint64_t offset = 0;
    uint64_t end = 0;
    SpaceUse use;
  };
  void add_range(uint64_t offset, uint64_t length, SpaceUse use);

  access::FileSystem& files_;
  const ChangedRanges& changed_;
  std::vector<Owned> owned_;
  IdSet ids_;
};

// A part of a changed range, and what it was and is used for.
struct ChangedPiece {
  uint64_t offset = 0;  // bytes, within the file system
  uint64_t length = 0;
  SpaceUse before;
  SpaceUse after;
};

// All changed ranges, in parts, in order. Requires: both are sealed. Errors: those of use_at and of
// visit; kInterrupted.
Result<void> visit_pieces(const ChangedRanges& changed, Owners& before, Owners& after,
                          const Cancel& cancel,
                          const std::function<Result<void>(const ChangedPiece&)>& visit);

}  // namespace snaptool::ops
