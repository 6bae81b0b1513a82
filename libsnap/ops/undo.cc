// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/undo.h"

#include <fmt/format.h>

#include "libsnap/base/check.h"
#include "libsnap/ops/room.h"

namespace snaptool::ops {

// They must have room for what they will keep.
Result<void> UndoJob::open_siblings() {
  origin_.emplace(*disk_.image);
  SnapshotOptions options;
  options.discard_tail = context_.policy.force;
  for (size_t i = 1; i < disk_.cows.size(); ++i) {
    SNAP_ASSIGN(auto sibling,
                Snapshot::open(*disk_.image, disk_.cows[i].look(), options, context_.cancel));
    uint64_t needed = 0;
    SNAP_TRY(undo_->visit_ranges([&](std::span<const ByteRange> ranges) -> Result<void> {
      RoomCounter room(sibling.get(), disk_.top.look());
      for (const ByteRange& range : ranges) SNAP_TRY(room.add(range.offset, range.length));
      needed += room.needed();
      return {};
    }));
    SNAP_TRY(check_room(*sibling, needed, "the undoing"));
    origin_->add(*sibling);
    siblings_.push_back(std::move(sibling));
  }
  undo_->keep_for(*origin_);
  return {};
}

// The origin may have holes again where the merge had filled them: a copy of it may.
Result<void> UndoJob::check_space() {
  File& origin = disk_.top.look();
  const auto left = origin.space_left();
  if (!left || *left >= undo_->bytes()) return {};
  uint64_t holes = 0;
  SNAP_TRY(undo_->visit_ranges([&](std::span<const ByteRange> ranges) -> Result<void> {
    RoomCounter room(nullptr, origin);
    for (const ByteRange& range : ranges) SNAP_TRY(room.add(range.offset, range.length));
    holes += room.needed();
    return {};
  }));
  if (*left >= holes) return {};
  return Error(
      ErrorCode::kNoSpace,
      fmt::format("the undoing fills {} of holes of '{}', but its file system has {} left: "
                  "nothing was written",
                  format_size(holes), origin.name(), format_size(*left)));
}

Result<std::unique_ptr<UndoJob>> UndoJob::prepare(const access::Context& context,
                                                  const UndoRequest& request) {
  const access::ImageSpec& image = request.image;
  SNAP_TRY(access::check_is_view(image));
  if (image.stores.size() != 1) {
    return Error(ErrorCode::kUnsupported,
                 "undoing a merge in a stack: name one origin and one COW");
  }
  std::unique_ptr<UndoJob> job(
      new UndoJob(context, request.dry_run ? Access::kRead : Access::kReadWrite));
  std::vector<access::FileSpec> cows = image.stores;
  cows.insert(cows.end(), request.siblings.begin(), request.siblings.end());
  SNAP_ASSIGN(job->disk_, job->door_.open_disk({image.base, {}, {}}, cows, {}));
  SNAP_ASSIGN(job->notes_, job->door_.find_notes(request.undo_file, "the undo file"));
  if (job->notes_ == nullptr) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("there is no undo file '{}'", request.undo_file));
  }
  const access::Phase phase(context, "checking");
  auto undo =
      Undo::begin(job->disk_.top.look(), job->disk_.cows.front().look(), *job->notes_, phase.job());
  if (!undo) {
    Error error = std::move(undo).error();
    if (error.code() == ErrorCode::kInterrupted) return error;
    return std::move(error).with_note("nothing was written");
  }
  job->undo_ = *std::move(undo);
  SNAP_TRY(job->open_siblings());
  SNAP_TRY(job->check_space());
  return job;
}

Result<void> UndoJob::run() {
  SNAP_CHECK(disk_.top.writable() && disk_.cows.front().writable());
  const access::Phase phase(context_, "undoing");
  return undo_->run(phase.job());
}

}  // namespace snaptool::ops
