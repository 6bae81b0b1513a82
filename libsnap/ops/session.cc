// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/access/plain_disk.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/sha256.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::ops {

Result<std::unique_ptr<Session>> Session::prepare(const access::Context& context,
                                                  const access::ImageSpec& origin,
                                                  const std::vector<Member>& members,
                                                  uint64_t in_flight) {
  std::unique_ptr<Session> session(new Session(context, in_flight));
  SNAP_TRY(session->open(origin, members));
  return session;
}

Result<void> Session::open(const access::ImageSpec& origin, const std::vector<Member>& members) {
  // Two snapshots may have one COW.
  std::vector<access::FileSpec> cows;
  std::vector<size_t> places;
  for (const Member& member : members) {
    const auto found = std::find_if(cows.begin(), cows.end(), [&](const access::FileSpec& cow) {
      return cow.name() == member.cow.name();
    });
    places.push_back(static_cast<size_t>(found - cows.begin()));
    if (found == cows.end()) cows.push_back(member.cow);
  }
  SnapshotOptions lower;
  lower.kind = StoreKind::kPersistentOverflow;
  lower.discard_tail = context_.policy.force;
  lower.in_flight = in_flight_;
  SNAP_ASSIGN(disk_, door_.open_disk(origin, cows, lower));
  origin_.emplace(*disk_.image, in_flight_);
  for (size_t i = 0; i < members.size(); ++i) {
    SNAP_TRY(add(members[i], disk_.cows[places[i]].file()));
  }
  return {};
}

Result<void> Session::check_kind(const Member& member, File& cow) const {
  SNAP_ASSIGN(const bool is_store, access::looks_like_store(cow));
  if (!is_store && member.kind != StoreKind::kTransient) {
    SNAP_TRY(access::check_no_plain_disk(context_, cow));
  }
  if (!is_store) return {};
  if (member.kind == StoreKind::kTransient) {
    if (context_.policy.force) return {};
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a dm-snapshot store, and a transient snapshot would "
                             "overwrite it",
                             member.cow.name()))
        .with_remedy(Remedy::kForce);
  }
  SNAP_ASSIGN(const auto store, PersistentStore::open(cow));
  if (member.chunk_bytes && store.state() != StoreState::kNone &&
      store.chunk_bytes() != *member.chunk_bytes) {
    context_.notices.warn(fmt::format("'{}' has chunks of {} bytes: that counts, not {}",
                                      member.cow.name(), store.chunk_bytes(), *member.chunk_bytes));
  }
  return {};
}

Result<void> Session::add(const Member& member, File& cow) {
  constexpr uint64_t kDefaultChunk = 4 * kKiB;
  auto entry = std::make_unique<Entry>();
  entry->name = member.name;
  entry->cow = &cow;
  entry->kind = member.kind;
  for (const auto& other : entries_) {
    if (other->name == member.name) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("there are two snapshots named '{}'", member.name));
    }
    if (other->cow != &cow) continue;
    if (other->state == State::kWaiting) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' and '{}' both wait for the COW '{}'", other->name, member.name,
                               cow.name()));
    }
    entry->state = State::kWaiting;
  }
  SNAP_TRY(check_kind(member, cow));
  if (entry->state == State::kActive) {
    const SnapshotOptions options{member.kind,
                                  member.chunk_bytes.value_or(kDefaultChunk) / kSectorSize,
                                  context_.policy.force, in_flight_};
    SNAP_ASSIGN(entry->snapshot, Snapshot::open(*disk_.image, cow, options, context_.cancel));
    origin_->add(*entry->snapshot);
  }
  entries_.push_back(std::move(entry));
  return {};
}

bool Session::has(const std::string& name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const auto& entry) { return entry->name == name; });
}

Result<Session::Entry*> Session::find(const std::string& name) {
  for (const auto& entry : entries_) {
    if (entry->name == name) return entry.get();
  }
  return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
}

// The member, if requests for the range can be made of it.
Result<Session::Entry*> Session::find_usable(const std::string& name, const ByteRange& range) {
  SNAP_ASSIGN(Entry* const entry, find(name));
  if (entry->state == State::kWaiting) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' waits for the hand-over of its COW", name));
  }
  if (entry->state == State::kHandedOver) {
    return Error(ErrorCode::kInvalidated, fmt::format("'{}' was handed over: it is invalid", name));
  }
  if (entry->state == State::kMergeFailed) {
    return Error(ErrorCode::kInvalidated, fmt::format("the merge of '{}' failed", name));
  }
  const uint64_t size = round_down(disk_.image->size(), kSectorSize);
  if (range.offset > size || range.length > size - range.offset) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {} pass the end of '{}' at byte {}", range.length,
                             range.offset, name, size));
  }
  return entry;
}

Result<void> Session::read(const std::string& name, uint64_t offset, std::span<std::byte> out) {
  SNAP_ASSIGN(Entry* const entry, find_usable(name, {offset, out.size()}));
  if (entry->state == State::kMerged) return disk_.image->read_at(offset, out);
  return entry->snapshot->read_at(offset, out);
}

Result<void> Session::write(const std::string& name, uint64_t offset,
                            std::span<const std::byte> data) {
  SNAP_ASSIGN(Entry* const entry, find_usable(name, {offset, data.size()}));
  if (entry->state == State::kMerged) return origin_->write_at(offset, data);
  return entry->snapshot->write_at(offset, data);
}

Result<void> Session::discard(const std::string& name, const ByteRange& range,
                              const DiscardOptions& options) {
  SNAP_ASSIGN(Entry* const entry, find_usable(name, range));
  if (entry->state == State::kMerged) {
    return Error(ErrorCode::kUnsupported, "a snapshot that was merged takes no discards");
  }
  return entry->snapshot->discard(range.offset, range.length, options);
}

Result<void> Session::write_origin(uint64_t offset, std::span<const std::byte> data) {
  return origin_->write_at(offset, data);
}

Result<std::string> Session::status(const std::string& name) const {
  for (const auto& entry : entries_) {
    if (entry->name != name) continue;
    switch (entry->state) {
      case State::kActive:
        return "snapshot " + entry->snapshot->status();
      case State::kWaiting:
        return std::string("waits for the hand-over of its COW");
      case State::kHandedOver:
        return std::string("snapshot Invalid");
      case State::kMerged:
        return "snapshot-merge " + entry->merged_status;
      case State::kMergeFailed:
        return std::string("snapshot-merge Merge failed");
    }
  }
  return Error(ErrorCode::kInvalidArgument, fmt::format("there is no snapshot '{}'", name));
}

Result<void> Session::handover(const std::string& from, const std::string& to) {
  SNAP_ASSIGN(Entry* const source, find(from));
  SNAP_ASSIGN(Entry* const destination, find(to));
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

Result<void> Session::merge_store(Entry& entry) {
  SNAP_TRY(entry.snapshot->flush());
  OriginMerge::Options options;
  options.may_invalidate = true;
  options.view = disk_.snapshot;
  options.merge.accept_duplicates = true;
  options.merge.discard_tail = context_.policy.force;
  options.merge.ignore_space = context_.policy.force;
  // It is not asked to keep anything: it will be gone.
  origin_->remove(*entry.snapshot);
  const auto merge = OriginMerge::prepare(context_, *origin_, disk_.file(), *entry.cow, options);
  if (!merge) {
    origin_->add(*entry.snapshot);
    return merge.error();
  }
  entry.state = State::kMergeFailed;
  SNAP_TRY((*merge)->run(context_));
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*entry.cow));
  SNAP_TRY(store.read_metadata(context_.cancel));
  const Usage usage = store.usage();
  entry.merged_status =
      fmt::format("{}/{} {}", usage.allocated_sectors, usage.total_sectors, usage.metadata_sectors);
  entry.snapshot.reset();
  entry.state = State::kMerged;
  return {};
}

Result<void> Session::merge(const std::string& name) {
  SNAP_ASSIGN(Entry* const entry, find_usable(name, {0, 0}));
  if (entry->state == State::kMerged) return {};
  if (entry->snapshot->transient()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is transient: the kernel merges none such", name));
  }
  if (!entry->snapshot->valid()) {
    return Error(ErrorCode::kInvalidated, fmt::format("'{}' is invalid: it is not merged", name));
  }
  return merge_store(*entry);
}

Result<std::string> Session::read_to(const std::string& name, const ByteRange& range,
                                     const std::optional<std::string>& path) {
  SNAP_TRY(find_usable(name, range));
  std::unique_ptr<OutputFile> output;
  if (path) {
    SNAP_ASSIGN(output, door_.make_file(*path, range.length));
  }
  Sha256 hash;
  RawBytes buffer(std::min(range.length, kIoPiece));
  for (uint64_t done = 0; done < range.length;) {
    if (context_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const auto piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), range.length - done));
    SNAP_TRY(read(name, range.offset + done, piece));
    hash.update(piece);
    if (output) SNAP_TRY(output->file().write_at(done, piece));
    done += piece.size();
  }
  if (output) SNAP_TRY(output->commit());
  return hash.finish();
}

Result<void> Session::flush() {
  Result<void> result;
  for (const auto& entry : entries_) {
    if (!entry->snapshot) continue;
    auto flushed = entry->snapshot->flush();
    if (!flushed && result) result = std::move(flushed);
  }
  auto flushed = origin_->flush();
  if (!flushed && result) result = std::move(flushed);
  return result;
}

}  // namespace snaptool::ops
