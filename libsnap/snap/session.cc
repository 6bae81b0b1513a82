// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/io/image_file.h"
#include "libsnap/snap/merge.h"
#include "libsnap/snap/persistent_store.h"

namespace snaptool {

Result<void> Session::add(const std::string& name, File& cow, StoreKind kind,
                          uint64_t chunk_sectors, const Cancel& cancel) {
  auto member = std::make_unique<Member>();
  member->name = name;
  member->cow = &cow;
  member->kind = kind;
  for (const auto& other : members_) {
    if (other->name == name) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("there are two snapshots named '{}'", name));
    }
    if (other->cow != &cow) continue;
    if (other->state == State::kWaiting) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("'{}' and '{}' both wait for the COW '{}'", other->name, name, cow.name()));
    }
    member->state = State::kWaiting;
  }
  if (member->state == State::kActive) {
    SNAP_ASSIGN(
        member->snapshot,
        Snapshot::open(origin_.image(), cow,
                       {kind, chunk_sectors, options_.discard_tail, options_.in_flight}, cancel));
    origin_.add(*member->snapshot);
  }
  members_.push_back(std::move(member));
  return {};
}

bool Session::has(const std::string& name) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const auto& member) { return member->name == name; });
}

Result<Session::Member*> Session::find(const std::string& name) {
  for (const auto& member : members_) {
    if (member->name == name) return member.get();
  }
  return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
}

// The member, if requests for the range can be made of it.
Result<Session::Member*> Session::find_usable(const std::string& name, const ByteRange& range) {
  SNAP_ASSIGN(Member* const member, find(name));
  if (member->state == State::kWaiting) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' waits for the hand-over of its COW", name));
  }
  if (member->state == State::kHandedOver) {
    return Error(ErrorCode::kInvalidated, fmt::format("'{}' was handed over: it is invalid", name));
  }
  if (member->state == State::kMergeFailed) {
    return Error(ErrorCode::kInvalidated, fmt::format("the merge of '{}' failed", name));
  }
  const uint64_t size = round_down(origin_.image().size(), kSectorSize);
  if (range.offset > size || range.length > size - range.offset) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {} pass the end of '{}' at byte {}", range.length,
                             range.offset, name, size));
  }
  return member;
}

Result<void> Session::read(const std::string& name, uint64_t offset, std::span<std::byte> out) {
  SNAP_ASSIGN(Member* const member, find_usable(name, {offset, out.size()}));
  if (member->state == State::kMerged) return origin_.image().read_at(offset, out);
  return member->snapshot->read_at(offset, out);
}

Result<void> Session::write(const std::string& name, uint64_t offset,
                            std::span<const std::byte> data) {
  SNAP_ASSIGN(Member* const member, find_usable(name, {offset, data.size()}));
  if (member->state == State::kMerged) return origin_.write_at(offset, data);
  return member->snapshot->write_at(offset, data);
}

Result<void> Session::discard(const std::string& name, const ByteRange& range,
                              const DiscardOptions& options) {
  SNAP_ASSIGN(Member* const member, find_usable(name, range));
  if (member->state == State::kMerged) {
    return Error(ErrorCode::kUnsupported, "a snapshot that was merged takes no discards");
  }
  return member->snapshot->discard(range.offset, range.length, options);
}

Result<void> Session::write_origin(uint64_t offset, std::span<const std::byte> data) {
  return origin_.write_at(offset, data);
}

Result<std::string> Session::status(const std::string& name) const {
  for (const auto& member : members_) {
    if (member->name != name) continue;
    switch (member->state) {
      case State::kActive:
        return "snapshot " + member->snapshot->status();
      case State::kWaiting:
        return std::string("waits for the hand-over of its COW");
      case State::kHandedOver:
        return std::string("snapshot Invalid");
      case State::kMerged:
        return "snapshot-merge " + member->merged_status;
      case State::kMergeFailed:
        return std::string("snapshot-merge Merge failed");
    }
  }
  return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
}

Result<void> Session::handover(const std::string& from, const std::string& to) {
  SNAP_ASSIGN(Member* const source, find(from));
  SNAP_ASSIGN(Member* const destination, find(to));
  if (destination->state != State::kWaiting || destination->cow != source->cow ||
      source->state != State::kActive) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' cannot hand over to '{}': the second must wait for the COW that "
                             "the first has",
                             from, to));
  }
  destination->snapshot = std::move(source->snapshot);
  destination->snapshot->set_kind(destination->kind);
  destination->state = State::kActive;
  source->state = State::kHandedOver;
  return {};
}

Result<void> Session::merge_store(Member& member, const Job& job) {
  SNAP_TRY(member.snapshot->flush());
  if (auto* const lower = dynamic_cast<Snapshot*>(&origin_.image())) {
    const uint64_t needed =
        lower->exceptions_needed_to_merge(member.snapshot->table(), member.snapshot->chunk_bytes());
    if (needed > lower->room()) {
      return Error(ErrorCode::kNoSpace, fmt::format("'{}' has room for {} more exceptions, but the "
                                                    "merge needs {}: nothing was written",
                                                    lower->cow().name(), lower->room(), needed));
    }
  }
  ImageFile origin(origin_.image());
  MergeOptions options;
  options.accept_duplicates = true;
  SNAP_ASSIGN(const auto merge, Merge::begin(origin, *member.cow, options, job));
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*member.cow));
  SNAP_TRY(store.read_metadata(job.cancel));
  // From here on it is not asked to keep anything: it will be gone.
  origin_.remove(*member.snapshot);
  member.state = State::kMergeFailed;
  SNAP_TRY(origin_.copy_out_for_merge(store, job.cancel));
  SNAP_TRY(merge->run(job));
  SNAP_TRY(store.read_metadata(job.cancel));
  const Usage usage = store.usage();
  member.merged_status =
      fmt::format("{}/{} {}", usage.allocated_sectors, usage.total_sectors, usage.metadata_sectors);
  member.snapshot.reset();
  member.state = State::kMerged;
  return {};
}

Result<void> Session::merge(const std::string& name, const Job& job) {
  SNAP_ASSIGN(Member* const member, find_usable(name, {0, 0}));
  if (member->state == State::kMerged) return {};
  if (member->snapshot->transient()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is transient: the kernel merges none such", name));
  }
  if (!member->snapshot->valid()) {
    return Error(ErrorCode::kInvalidated, fmt::format("'{}' is invalid: it is not merged", name));
  }
  return merge_store(*member, job);
}

Result<void> Session::flush() {
  Result<void> result;
  for (const auto& member : members_) {
    if (!member->snapshot) continue;
    auto flushed = member->snapshot->flush();
    if (!flushed && result) result = std::move(flushed);
  }
  auto flushed = origin_.flush();
  if (!flushed && result) result = std::move(flushed);
  return result;
}

}  // namespace snaptool
