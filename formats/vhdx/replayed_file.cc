// SPDX-License-Identifier: Apache-2.0
#include "formats/vhdx/replayed_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/check.h"

namespace snaptool::vhdx {
namespace {

uint64_t end_of(const LogChange& change) { return change.offset + change.length; }

Error only_read(const std::string& name) {
  return {ErrorCode::kUnsupported, fmt::format("'{}' can only be read", name)};
}

}  // namespace

ReplayedFile::ReplayedFile(File& file, const Replay& replay) : file_(file), size_(replay.size) {
  for (const LogChange& change : replay.changes) lay(change);
}

// What lies there already is cut. Only zeros are longer than a unit, so data are never cut.
void ReplayedFile::lay(const LogChange& change) {
  const uint64_t end = end_of(change);
  const auto put_rest = [&](LogChange below) {
    below.length = end_of(below) - end;
    below.offset = end;
    patches_.emplace(end, below);
  };
  auto next = patches_.lower_bound(change.offset);
  if (next != patches_.begin()) {
    LogChange& before = std::prev(next)->second;
    if (end_of(before) > end) put_rest(before);
    before.length = std::min(before.length, change.offset - before.offset);
  }
  while (next != patches_.end() && next->first < end) {
    const LogChange below = next->second;
    next = patches_.erase(next);
    if (end_of(below) > end) put_rest(below);
  }
  patches_.emplace(change.offset, change);
}

// The patch that the byte is in; patches_.end() where it is in none.
ReplayedFile::Patches::const_iterator ReplayedFile::patch_at(uint64_t offset) const {
  auto found = patches_.upper_bound(offset);
  if (found == patches_.begin()) return patches_.end();
  --found;
  return offset < end_of(found->second) ? found : patches_.end();
}

ReplayedFile::Stretch ReplayedFile::stretch_at(uint64_t offset, uint64_t limit) const {
  const auto patch = patch_at(offset);
  if (patch != patches_.end()) return {std::min(limit, end_of(patch->second) - offset), false};
  const auto next = patches_.upper_bound(offset);
  if (next != patches_.end()) limit = std::min(limit, next->first - offset);
  if (offset < file_.size()) return {std::min(limit, file_.size() - offset), true};
  if (offset < size_) return {std::min(limit, size_ - offset), false};
  return {limit, true};
}

Result<void> ReplayedFile::read_patch(const LogChange& patch, uint64_t within,
                                      std::span<std::byte> out) {
  if (patch.source == 0) {
    std::memset(out.data(), 0, out.size());
    return {};
  }
  SNAP_TRY(file_.read_at(patch.source + within, out));
  for (size_t i = 0; i < patch.ends.size(); ++i) {
    const uint64_t at = i < 8 ? i : kLogUnit - patch.ends.size() + i;
    if (at >= within && at - within < out.size()) out[at - within] = patch.ends[i];
  }
  return {};
}

Result<void> ReplayedFile::read_at(uint64_t offset, std::span<std::byte> out) {
  if (offset > size_ || out.size() > size_ - offset) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' ends at byte {}, but {} bytes at byte {} are needed", name(),
                             size_, out.size(), offset));
  }
  while (!out.empty()) {
    const Stretch stretch = stretch_at(offset, out.size());
    const auto piece = out.first(stretch.length);
    const auto patch = patch_at(offset);
    if (stretch.as_is) {
      SNAP_TRY(file_.read_at(offset, piece));
    } else if (patch != patches_.end()) {
      SNAP_TRY(read_patch(patch->second, offset - patch->first, piece));
    } else {
      std::memset(piece.data(), 0, piece.size());  // the file will be longer
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

Result<Extent> ReplayedFile::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  return Extent{std::min(limit, size_ - offset), false, 0, this, std::nullopt};
}

Result<void> ReplayedFile::write_at(uint64_t /*offset*/, std::span<const std::byte> /*data*/) {
  return only_read(name());
}

Result<void> ReplayedFile::zero_at(uint64_t /*offset*/, uint64_t /*length*/, ZeroMode /*mode*/) {
  return only_read(name());
}

Result<void> ReplayedFile::resize(uint64_t /*size*/) { return only_read(name()); }

}  // namespace snaptool::vhdx
