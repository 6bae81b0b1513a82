// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/file_judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/bytes.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/sha256.h"

namespace snaptool::ops {
namespace {

using access::FileNode;
using access::FileRun;
using access::FileSystem;
using access::NodeType;

constexpr size_t kMostProblems = 100;
constexpr size_t kMostRuns = 65536;

void compare_facts(const FileNode& before, const FileNode& after, std::vector<FileField>& fields) {
  const auto add = [&](bool differs, FileField field) {
    if (differs) fields.push_back(field);
  };
  add(before.size != after.size, FileField::kSize);
  add(before.mode != after.mode, FileField::kMode);
  add(before.owner != after.owner, FileField::kOwner);
  add(before.group != after.group, FileField::kGroup);
  add(before.links != after.links, FileField::kLinks);
  add(before.modified != after.modified, FileField::kModified);
  add(before.changed != after.changed, FileField::kChanged);
  add(before.accessed != after.accessed, FileField::kAccessed);
  add(before.created != after.created, FileField::kCreated);
  add(before.metadata_sum != after.metadata_sum, FileField::kAttributes);
  add(before.encrypted != after.encrypted, FileField::kEncrypted);
}

bool is_same(const FileRun& a, const FileRun& b) {
  return a.offset == b.offset && a.length == b.length && a.place == b.place && a.zeros == b.zeros;
}

}  // namespace

void Problems::add(std::string_view what, const Error& error) {
  ++count_;
  if (kept_.size() >= kMostProblems) return;
  kept_.push_back(
      fmt::format("{}: {}", excerpt(printable_name(what), kMostOfName), error.message()));
}

Result<void> Problems::note(std::string_view what, const Result<void>& result) {
  if (result) return {};
  const ErrorCode code = result.error().code();
  if (code != ErrorCode::kCorruption && code != ErrorCode::kNotFound &&
      code != ErrorCode::kUnsupported) {
    return result;
  }
  add(what, result.error());
  return {};
}

Result<void> FileJudge::compare(FileChange& change) {
  FileVersion& before = *change.before;
  FileVersion& after = *change.after;
  switch (before.node.type) {
    case NodeType::kFile:
      SNAP_TRY(compare_content(change));
      break;
    case NodeType::kLink:
      SNAP_TRY(read_target(before, before_));
      SNAP_TRY(read_target(after, after_));
      if (before.target != after.target) change.fields.push_back(FileField::kTarget);
      break;
    default:
      break;
  }
  compare_facts(before.node, after.node, change.fields);
  return {};
}

Result<void> FileJudge::complete(FileVersion& version, bool is_after) {
  FileSystem& files = is_after ? after_ : before_;
  if (version.node.type == NodeType::kFile) return hash(version, files);
  return version.node.type == NodeType::kLink ? read_target(version, files) : Result<void>();
}

Result<void> FileJudge::add_runs(FileVersion& version, bool is_after) {
  FileSystem& files = is_after ? after_ : before_;
  const Error enough(ErrorCode::kInvalidArgument, "enough");
  const auto visited = files.visit_runs(version.node, [&](const FileRun& run) -> Result<void> {
    if (version.runs.size() == kMostRuns) return enough;
    version.runs.push_back(run);
    return {};
  });
  if (!visited && visited.error().code() == enough.code()) return {};
  return problems_.note(version.path, visited);
}

// Whether both have their bytes from the same place, where nothing changed.
Result<bool> FileJudge::same_place(const FileNode& before, const FileNode& after) {
  std::vector<FileRun> runs;
  bool known = true;
  const Error enough(ErrorCode::kInvalidArgument, "enough");
  const auto was = before_.visit_runs(before, [&](const FileRun& run) -> Result<void> {
    const bool lies = run.place ? !changed_->touches(*run.place, run.length) : run.zeros;
    known = lies && runs.size() < kMostRuns;
    if (!known) return enough;
    runs.push_back(run);
    return {};
  });
  if (!was || !known) return false;
  size_t next = 0;
  const auto is = after_.visit_runs(after, [&](const FileRun& run) -> Result<void> {
    known = next < runs.size() && is_same(runs[next++], run);
    return known ? Result<void>() : enough;
  });
  return is && known && next == runs.size();
}

Result<void> FileJudge::compare_content(FileChange& change) {
  FileVersion& before = *change.before;
  FileVersion& after = *change.after;
  if (before.node.size == after.node.size) {
    if (before.node.size == 0) return {};
    if (changed_ != nullptr) {
      SNAP_ASSIGN(const bool same, same_place(before.node, after.node));
      if (same) return {};
    }
  }
  SNAP_ASSIGN(const bool holes_before, is_mostly_holes(before, before_));
  SNAP_ASSIGN(const bool holes_after, is_mostly_holes(after, after_));
  if (holes_before || holes_after) return compare_stored(change);
  SNAP_TRY(hash(before, before_));
  SNAP_TRY(hash(after, after_));
  if (before.node.size == after.node.size && before.sha256 == after.sha256) {
    before.sha256.clear();
    after.sha256.clear();
    return {};
  }
  change.fields.push_back(FileField::kContent);
  return {};
}

Result<void> FileJudge::read_target(FileVersion& version, FileSystem& files) {
  auto target = files.target(version.node);
  if (!target) return problems_.note(version.path, std::move(target).error());
  version.target = *std::move(target);
  return {};
}

// Of files that are larger than can be read, but for their holes: what is stored of them.
Result<void> FileJudge::compare_stored(FileChange& change) {
  SNAP_ASSIGN(const std::string was, hash_stored(*change.before, before_));
  SNAP_ASSIGN(const std::string is, hash_stored(*change.after, after_));
  if (change.before->node.size != change.after->node.size || was != is) {
    change.fields.push_back(FileField::kContent);
  }
  return {};
}

Result<bool> FileJudge::is_mostly_holes(const FileVersion& version, FileSystem& files) {
  constexpr uint64_t kMostZeros = 64 * kGiB;  // that are hashed
  if (version.node.size <= kMostZeros) return false;
  uint64_t stored = 0;
  const auto visited = files.visit_runs(version.node, [&](const FileRun& run) -> Result<void> {
    if (!run.zeros) stored += run.length;
    return {};
  });
  SNAP_TRY(problems_.note(version.path, visited));
  return version.node.size - std::min(version.node.size, stored) > kMostZeros;
}

// Over the sectors that are not zeros and their places: the same for holes and zeros.
Result<std::string> FileJudge::hash_stored(const FileVersion& version, FileSystem& files) {
  Sha256 sum;
  buffer_.resize(kMiB);
  const auto hash_run = [&](const FileRun& run) -> Result<void> {
    const uint64_t end = std::min(version.node.size, run.offset + run.length);
    for (uint64_t at = run.offset; !run.zeros && at < end;) {
      if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const auto piece =
          std::span(buffer_).first(std::min<uint64_t>({end - at, kMiB - at % kSectorSize}));
      SNAP_TRY(files.read(version.node, at, piece));
      job_.progress.add(piece.size());
      for (size_t from = 0; from < piece.size();) {
        const size_t length =
            std::min<size_t>(piece.size() - from, kSectorSize - (at + from) % kSectorSize);
        const auto sector = piece.subspan(from, length);
        if (!is_all_zero(sector)) {
          const uint64_t place = at + from;
          sum.update(std::as_bytes(std::span(&place, 1)));
          sum.update(sector);
        }
        from += length;
      }
      at += piece.size();
    }
    return {};
  };
  SNAP_TRY(problems_.note(version.path, files.visit_runs(version.node, hash_run)));
  return sum.finish();
}

// Of what cannot be read there is no sum, nor of what is all but holes.
Result<void> FileJudge::hash(FileVersion& version, FileSystem& files) {
  SNAP_ASSIGN(const bool holes, is_mostly_holes(version, files));
  if (holes) return {};
  constexpr size_t kPiece = kMiB;
  Sha256 sum;
  const uint64_t size = version.node.size;
  buffer_.resize(kPiece);
  for (uint64_t at = 0; at < size;) {
    if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const std::span<std::byte> piece =
        std::span(buffer_).first(std::min<uint64_t>(kPiece, size - at));
    const auto read = files.read(version.node, at, piece);
    if (!read) return problems_.note(version.path, read);
    sum.update(piece);
    job_.progress.add(piece.size());
    at += piece.size();
  }
  version.sha256 = sum.finish();
  return {};
}

}  // namespace snaptool::ops
