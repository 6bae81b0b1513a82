// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/write.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "libsnap/base/io_bytes.h"
#include "libsnap/ops/room.h"

namespace snaptool::ops {
namespace {

using access::Context;

// Gets a piece of the data and where it goes.
using Sink = std::function<Result<void>(uint64_t offset, std::span<const std::byte>)>;

// Hands the data over in pieces of `piece` bytes; returns how many there were. Errors: those of the
// source and of `sink`; kInvalidArgument when there are more than fit, or a part of a sector;
// kInterrupted.
Result<uint64_t> pump(const WriteData& data, const Image& image, uint64_t piece, const Job& job,
                      const Sink& sink) {
  RawBytes buffer(std::min(piece, std::max(data.most(image), kSectorSize)));
  uint64_t done = 0;
  while (true) {
    SNAP_ASSIGN(const uint64_t got, data.source.read(buffer));
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    if (got == 0) return done;
    SNAP_TRY(check_range(image, data.offset + done, got));
    SNAP_TRY(sink(data.offset + done, std::span(buffer).first(got)));
    job.progress.add(got);
    done += got;
    if (got < buffer.size()) return done;
  }
}

// Hands on what is not the same in the snapshot, in whole pieces of chunks.
Result<void> for_unequal(Snapshot& snapshot, uint64_t offset, std::span<const std::byte> data,
                         const Sink& visit) {
  std::vector<std::byte> view(data.size());
  SNAP_TRY(snapshot.read_at(offset, view));
  const uint64_t chunk = snapshot.chunk_bytes();
  size_t start = 0;  // of the unequal bytes that wait to be handed over
  size_t end = 0;
  for (size_t at = 0; at < data.size();) {
    const size_t next = std::min<uint64_t>(data.size(), at + chunk - (offset + at) % chunk);
    if (!std::equal(data.begin() + at, data.begin() + next, view.begin() + at)) {
      if (end != at) {
        if (end > start) SNAP_TRY(visit(offset + start, data.subspan(start, end - start)));
        start = at;
      }
      end = next;
    }
    at = next;
  }
  if (end > start) return visit(offset + start, data.subspan(start, end - start));
  return {};
}

Result<void> check_source(const WriteData& data, const Image& image,
                          const std::vector<File*>& files) {
  for (const File* const file : files) {
    const auto storages = file->storages();
    if (std::any_of(storages.begin(), storages.end(),
                    [&](const Storage& storage) { return storage.id == data.source.id(); })) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the data come from '{}', which is written to itself", file->name()));
    }
  }
  return check_range(image, data.offset, data.length().value_or(0));
}

SnapshotOptions lower_options(const SnapshotOptions& options) {
  SnapshotOptions lower = options;
  lower.kind = StoreKind::kPersistentOverflow;
  return lower;
}

}  // namespace

Result<void> check_range(const Image& image, uint64_t offset, uint64_t length) {
  if (offset > image.size() || length > image.size() - offset) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {} pass the end of '{}' at byte {}", length, offset,
                             image.name(), image.size()));
  }
  if (offset % kSectorSize != 0 || length % kSectorSize != 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {}: a disk is written in whole sectors of {} bytes",
                             length, offset, kSectorSize));
  }
  return {};
}

Result<std::unique_ptr<WriteJob>> WriteJob::prepare(const Context& context,
                                                    const WriteRequest& request) {
  SNAP_TRY(access::check_is_view(request.image));
  std::unique_ptr<WriteJob> job(new WriteJob(context, request));
  SNAP_ASSIGN(job->disk_, job->door_.open_disk(request.image, {}, request.options));
  SNAP_TRY(check_source(request.data, *job->disk_.image, {&job->disk_.top.look()}));
  if (request.check_room) SNAP_TRY(job->check_room());
  return job;
}

// A write that would not fit is refused before it begins, where that can be known.
Result<void> WriteJob::check_room() {
  Snapshot& snapshot = *disk_.snapshot;
  const WriteData& data = request_.data;
  uint64_t needed = snapshot.exceptions_needed(data.offset, data.most(snapshot));
  if (needed <= snapshot.room() || !data.length()) return {};
  if (!request_.skip_equal) return ops::check_room(snapshot, needed, "the write");
  // A pipe can only be written as it comes.
  if (!data.source.can_rewind()) return {};
  RoomCounter room(&snapshot, disk_.top.look());
  Progress unseen;
  SNAP_TRY(pump(data, snapshot, kIoPiece, {unseen, context_.cancel, context_.jobs},
                [&](uint64_t offset, std::span<const std::byte> bytes) {
                  return for_unequal(snapshot, offset, bytes,
                                     [&](uint64_t at, std::span<const std::byte> piece) {
                                       return room.add(at, piece.size());
                                     });
                }));
  SNAP_TRY(data.source.rewind());
  return room.check("the write", false);
}

Result<uint64_t> WriteJob::write_all() {
  Snapshot& snapshot = *disk_.snapshot;
  const access::Phase phase(context_, "writing", request_.data.length().value_or(0));
  return pump(request_.data, snapshot, kIoPiece, phase.job(),
              [&](uint64_t offset, std::span<const std::byte> data) -> Result<void> {
                if (!request_.skip_equal) return snapshot.write_at(offset, data);
                uint64_t unequal = 0;
                SNAP_TRY(for_unequal(snapshot, offset, data,
                                     [&](uint64_t at, std::span<const std::byte> piece) {
                                       unequal += piece.size();
                                       return snapshot.write_at(at, piece);
                                     }));
                skipped_ += data.size() - unequal;
                return {};
              });
}

Result<void> WriteJob::run() {
  Snapshot& snapshot = *disk_.snapshot;
  const uint64_t room = snapshot.room();
  auto written = write_all();
  if (!written) {
    // What came before a store was found full is kept, as the kernel keeps it.
    if (written.error().code() == ErrorCode::kNoSpace && snapshot.valid()) {
      SNAP_TRY(snapshot.flush());
    }
    return std::move(written).error();
  }
  SNAP_TRY(snapshot.flush());
  written_ = *written;
  exceptions_added_ = room - snapshot.room();
  return {};
}

Result<std::unique_ptr<OriginWriteJob>> OriginWriteJob::prepare(const Context& context,
                                                                const OriginWriteRequest& request) {
  std::unique_ptr<OriginWriteJob> job(new OriginWriteJob(context, request));
  SNAP_ASSIGN(job->disk_, job->door_.open_disk(request.image, request.snapshots,
                                               lower_options(request.options)));
  access::Disk& disk = job->disk_;
  job->origin_.emplace(*disk.image, request.options.in_flight);
  std::vector<File*> written = {&disk.top.look()};
  for (const access::Target& cow : disk.cows) {
    SNAP_ASSIGN(auto snapshot,
                Snapshot::open(*disk.image, cow.file(), request.options, context.cancel));
    job->origin_->add(*snapshot);
    job->snapshots_.push_back(std::move(snapshot));
    written.push_back(&cow.look());
  }
  SNAP_TRY(check_source(request.data, *disk.image, written));
  SNAP_TRY(job->check_room());
  job->kept_to_ = request.data.offset;
  return job;
}

Result<void> OriginWriteJob::check_room() {
  const WriteData& data = request_.data;
  const auto length = data.length();
  if (!length) return {};
  if (const Snapshot* const lower = disk_.snapshot) {
    SNAP_TRY(ops::check_room(*lower, lower->exceptions_needed(data.offset, *length), "the write"));
  }
  if (request_.may_invalidate) return {};
  return check_room_for_copies(*origin_, data.offset, *length, 0);
}

Result<void> OriginWriteJob::write_piece(uint64_t offset, std::span<const std::byte> data) {
  const auto length = request_.data.length();
  const uint64_t start = request_.data.offset;
  if (!length && !request_.may_invalidate) {
    SNAP_TRY(check_room_for_copies(*origin_, offset, data.size(), offset - start));
  }
  // Where it is known how much comes, the snapshots keep what a whole window needs at once.
  if (length && offset + data.size() > kept_to_) {
    const uint64_t left = start + *length - kept_to_;
    const ByteRange window{kept_to_, std::min(request_.options.in_flight, left)};
    SNAP_TRY(origin_->copy_out({&window, 1}));
    kept_to_ += window.length;
  }
  return origin_->write_at(offset, data);
}

Result<void> OriginWriteJob::run() {
  // A pipe is read in pieces of this size: each is kept for by the snapshots before it is written.
  constexpr uint64_t kPipePiece = 8 * kMiB;
  const auto length = request_.data.length();
  {
    const access::Phase phase(context_, "writing", length.value_or(0));
    SNAP_ASSIGN(written_, pump(request_.data, *disk_.image,
                               length ? kIoPiece : std::min(request_.options.in_flight, kPipePiece),
                               phase.job(), [&](uint64_t offset, std::span<const std::byte> data) {
                                 return write_piece(offset, data);
                               }));
  }
  SNAP_TRY(origin_->flush());
  for (const auto& snapshot : snapshots_) {
    SNAP_TRY(snapshot->flush());
    if (!snapshot->valid()) invalidated_.push_back(snapshot->cow().name());
  }
  return {};
}

Result<uint64_t> discard(const Context& context, const DiscardRequest& request) {
  SNAP_TRY(access::check_is_view(request.image));
  const bool passed_down = request.discard.passdown_origin;
  if (passed_down && request.image.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported,
                 "an origin that is a snapshot takes no discards that are passed down");
  }
  access::Door door(context,
                    passed_down ? access::operations::kPassDown : access::operations::kDiscard);
  access::Disk disk;
  std::unique_ptr<Snapshot> over_origin;
  if (passed_down) {
    // What is passed down changes the origin, which then has to be open for writing.
    SNAP_ASSIGN(disk, door.open_disk({request.image.base, {}, {}}, request.image.stores, {}));
    SNAP_ASSIGN(over_origin, Snapshot::open(*disk.image, disk.cows.front().file(), request.options,
                                            context.cancel));
  } else {
    SNAP_ASSIGN(disk, door.open_disk(request.image, {}, request.options));
  }
  Snapshot& snapshot = passed_down ? *over_origin : *disk.snapshot;
  const uint64_t left = snapshot.size() - std::min<uint64_t>(request.offset, snapshot.size());
  const uint64_t length = request.length.value_or(left);
  SNAP_TRY(check_range(snapshot, request.offset, length));
  {
    const access::Phase phase(context, "discarding", length);
    // Steps that are whole chunks, of whatever size, do what one does.
    uint64_t done = 0;
    do {
      if (context.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const uint64_t at = request.offset + done;
      const uint64_t step = std::min(kGiB - at % kGiB, length - done);
      SNAP_TRY(snapshot.discard(at, step, request.discard));
      phase.job().progress.add(step);
      done += step;
    } while (done < length);
  }
  SNAP_TRY(snapshot.flush());
  if (passed_down) SNAP_TRY(disk.image->flush());
  return length;
}

}  // namespace snaptool::ops
