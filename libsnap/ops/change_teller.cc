// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/change_teller.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace snaptool::ops {
namespace {

FileVersion version_of(const NamedFile& file) {
  FileVersion version;
  version.path = file.path;
  version.node = file.node;
  return version;
}

}  // namespace

Result<void> ChangeTeller::tell_pair(const NamedFile& before, const NamedFile& after,
                                     FileChangeKind kind, bool same_file) {
  SNAP_TRY(note(before_, before));
  SNAP_TRY(note(after_, after));
  FileChange change;
  change.kind = kind;
  if (kind == FileChangeKind::kRenamed) change.fields.push_back(FileField::kName);
  if (!same_file) change.fields.push_back(FileField::kInode);
  change.before = version_of(before);
  change.after = version_of(after);
  SNAP_TRY(judge_.compare(change));
  const auto has = [&](FileField field) {
    return std::find(change.fields.begin(), change.fields.end(), field) != change.fields.end();
  };
  if (kind == FileChangeKind::kChanged && (has(FileField::kContent) || has(FileField::kTarget))) {
    change.kind = FileChangeKind::kModified;
  }
  if (change.fields.empty()) return {};
  if (options_.runs) SNAP_TRY(judge_.add_runs(*change.before, false));
  if (options_.runs) SNAP_TRY(judge_.add_runs(*change.after, true));
  return tell(change);
}

Result<void> ChangeTeller::tell_lone(FileState& state, const NamedFile& file, FileChangeKind kind) {
  SNAP_TRY(note(state, file));
  FileVersion version = version_of(file);
  if (kind == FileChangeKind::kCreated || kind == FileChangeKind::kDeleted) {
    SNAP_TRY(judge_.complete(version, state.is_after));
  }
  if (options_.runs) SNAP_TRY(judge_.add_runs(version, state.is_after));
  FileChange change;
  change.kind = kind;
  (state.is_after ? change.after : change.before) = std::move(version);
  return tell(change);
}

Result<void> ChangeTeller::tell(const FileChange& change) {
  ++changes_.at(static_cast<size_t>(change.kind));
  return visitor_.change(change);
}

// Which ranges a file owns.
Result<void> ChangeTeller::note(FileState& state, const NamedFile& file) {
  if (options_.changed == nullptr) return {};
  bool any = owners_known_ && state.owners.owns_any(file.node.id);
  if (!owners_known_) {
    const auto added = state.owners.add(file.node);
    if (added) {
      any = *added;
    } else {
      SNAP_TRY(problems_.note(file.path, added.error()));
      any = true;
    }
  }
  if (any) state.names.try_emplace(file.node.id, file.path);
  return {};
}

Result<void> ChangeTeller::tell_pieces(const ChangedRanges& changed, const Cancel& cancel) {
  before_.owners.seal();
  after_.owners.seal();
  const auto path_of = [](const FileState& state, const SpaceUse& use) -> std::string_view {
    const auto name = use.id == 0 ? state.names.end() : state.names.find(use.id);
    return name == state.names.end() ? std::string_view() : name->second;
  };
  return visit_pieces(changed, before_.owners, after_.owners, cancel,
                      [&](const ChangedPiece& piece) -> Result<void> {
                        return visitor_.piece(
                            {piece, path_of(before_, piece.before), path_of(after_, piece.after)});
                      });
}

}  // namespace snaptool::ops
