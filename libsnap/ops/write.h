// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libsnap/access/door.h"
#include "libsnap/ops/data_source.h"
#include "libsnap/snap/view/origin.h"

namespace snaptool::ops {

// Where bytes go: whole sectors within an image.
// Errors: kInvalidArgument when a number is not a multiple of 512, or passes the end.
Result<void> check_range(const Image& image, uint64_t offset, uint64_t length);

// Data, and where they go.
struct WriteData {
  DataSource& source;
  uint64_t offset = 0;  // bytes
  std::optional<uint64_t> length() const { return source.length(); }
  // The most that it can be.
  uint64_t most(const Image& image) const { return length().value_or(image.size() - offset); }
};

// A write to a snapshot.
struct WriteRequest {
  access::ImageSpec image;  // the topmost store gets the data
  WriteData data;
  SnapshotOptions options;
  bool skip_equal = false;  // what is there already is not written
  // A write that would not fit is refused; else it happens as in the kernel.
  bool check_room = true;
};

class WriteJob {
 public:
  // Opens and checks everything, writes nothing. Errors: those of Door::open_disk and check_range;
  // kInvalidArgument when the data come from what is written; kNoSpace.
  static Result<std::unique_ptr<WriteJob>> prepare(const access::Context& context,
                                                   const WriteRequest& request);
  // Afterwards all is durable. Errors: those of the source and of Snapshot; kInvalidArgument when
  // there are more bytes than fit, or a part of a sector. Crash, error: the snapshot shows a part
  // of the data, and is sound.
  Result<void> run();

  uint64_t written() const { return written_; }
  uint64_t skipped() const { return skipped_; }
  // Whether that was all of the disk.
  bool is_whole() const { return written_ == disk_.image->size(); }
  uint64_t exceptions_added() const { return exceptions_added_; }

 private:
  WriteJob(const access::Context& context, const WriteRequest& request)
      : context_(context),
        door_(context,
              request.skip_equal ? access::operations::kWriteUnequal : access::operations::kWrite),
        request_(request) {}
  Result<void> check_room();
  Result<uint64_t> write_all();

  const access::Context context_;
  access::Door door_;
  WriteRequest request_;
  access::Disk disk_;
  uint64_t written_ = 0;
  uint64_t skipped_ = 0;
  uint64_t exceptions_added_ = 0;
};

// A write to an origin, whose snapshots keep what they show.
struct OriginWriteRequest {
  access::ImageSpec image;                  // a raw file, or a view: its store gets the data then
  std::vector<access::FileSpec> snapshots;  // those that keep their views
  WriteData data;
  SnapshotOptions options;
  bool may_invalidate = false;  // a snapshot that is too small is invalidated
};

class OriginWriteJob {
 public:
  // As WriteJob::prepare.
  static Result<std::unique_ptr<OriginWriteJob>> prepare(const access::Context& context,
                                                         const OriginWriteRequest& request);
  // Afterwards all is durable. Errors: as WriteJob::run. Crash, error: the snapshots show what they
  // did, and the origin has a part of the data.
  Result<void> run();

  Image& image() { return *disk_.image; }
  uint64_t written() const { return written_; }
  // The COWs of snapshots that were too small.
  const std::vector<std::string>& invalidated() const { return invalidated_; }

 private:
  OriginWriteJob(const access::Context& context, const OriginWriteRequest& request)
      : context_(context), door_(context, access::operations::kWriteOrigin), request_(request) {}
  Result<void> check_room();
  Result<void> write_piece(uint64_t offset, std::span<const std::byte> data);

  const access::Context context_;
  access::Door door_;
  OriginWriteRequest request_;
  access::Disk disk_;
  std::optional<Origin> origin_;
  std::vector<std::unique_ptr<Snapshot>> snapshots_;
  uint64_t kept_to_ = 0;  // the snapshots have what they need of what is before it
  uint64_t written_ = 0;
  std::vector<std::string> invalidated_;
};

// A discard in a snapshot, as the kernel does it.
struct DiscardRequest {
  access::ImageSpec image;
  uint64_t offset = 0;             // bytes
  std::optional<uint64_t> length;  // nothing: to the end
  DiscardOptions discard;
  SnapshotOptions options;
};
// Opens, checks, discards and flushes; returns how many bytes that was. Errors: those of
// Door::open_disk, check_range and Snapshot::discard; kUnsupported for what is passed down in a
// stack.
Result<uint64_t> discard(const access::Context& context, const DiscardRequest& request);

}  // namespace snaptool::ops
