// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/space_use.h"

#include <algorithm>
#include <tuple>

namespace snaptool::ops {
namespace {

using access::SpaceKind;

Use use_of(SpaceKind kind) {
  switch (kind) {
    case SpaceKind::kFree:
      return Use::kFree;
    case SpaceKind::kJournal:
      return Use::kJournal;
    case SpaceKind::kMetadata:
      return Use::kMetadata;
    case SpaceKind::kNodes:
      return Use::kNodes;
    case SpaceKind::kFile:
      break;
  }
  return Use::kNameless;
}

}  // namespace

Result<bool> Owners::add(const access::FileNode& node) {
  const size_t before = owned_.size();
  const auto structures =
      files_.visit_structures(node, [&](uint64_t offset, uint64_t length) -> Result<void> {
        add_range(offset, length, {Use::kStructure, node.id});
        return {};
      });
  auto runs = files_.visit_runs(node, [&](const access::FileRun& run) -> Result<void> {
    if (!run.place) return {};
    const uint64_t left = node.size - std::min(node.size, run.offset);
    const uint64_t content = std::min(run.length, left);
    add_range(*run.place, content, {Use::kContent, node.id});
    add_range(*run.place + content, run.length - content, {Use::kSlack, node.id});
    return {};
  });
  const bool any = owned_.size() > before;
  if (any) ids_.add(node.id);
  SNAP_TRY(structures);
  SNAP_TRY(std::move(runs));
  return any;
}

void Owners::add_range(uint64_t offset, uint64_t length, SpaceUse use) {
  if (changed_.touches(offset, length)) owned_.push_back({offset, offset + length, use});
}

void Owners::seal() {
  std::stable_sort(owned_.begin(), owned_.end(),
                   [](const Owned& a, const Owned& b) { return a.offset < b.offset; });
  ids_.seal();
}

Result<std::pair<SpaceUse, uint64_t>> Owners::use_at(uint64_t offset, uint64_t limit) {
  const auto next =
      std::upper_bound(owned_.begin(), owned_.end(), offset,
                       [](uint64_t place, const Owned& one) { return place < one.offset; });
  if (next != owned_.end()) limit = std::min(limit, next->offset);
  if (next != owned_.begin()) {
    const Owned& owned = *std::prev(next);
    if (offset < owned.end) return std::pair(owned.use, std::min(limit, owned.end));
  }
  if (offset >= files_.size()) return std::pair(SpaceUse{Use::kBeyond}, limit);
  const auto space = files_.space_at(offset);
  if (space) {
    return std::pair(SpaceUse{use_of(space->first)}, std::clamp(space->second, offset + 1, limit));
  }
  if (space.error().code() != ErrorCode::kCorruption) return space.error();
  const uint64_t block = files_.block_size();
  return std::pair(SpaceUse{Use::kUnknown}, std::min(limit, (offset / block + 1) * block));
}

Result<void> visit_pieces(const ChangedRanges& changed, Owners& before, Owners& after,
                          const Cancel& cancel,
                          const std::function<Result<void>(const ChangedPiece&)>& visit) {
  for (const ByteRange& range : changed.ranges()) {
    ChangedPiece piece;
    for (uint64_t at = range.offset; at < range.offset + range.length;) {
      if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_ASSIGN(const auto was, before.use_at(at, range.offset + range.length));
      SNAP_ASSIGN(const auto is, after.use_at(at, was.second));
      if (piece.length > 0 && piece.before == was.first && piece.after == is.first) {
        piece.length += is.second - at;
      } else {
        if (piece.length > 0) SNAP_TRY(visit(piece));
        piece = {at, is.second - at, was.first, is.first};
      }
      at = is.second;
    }
    if (piece.length > 0) SNAP_TRY(visit(piece));
  }
  return {};
}

}  // namespace snaptool::ops
