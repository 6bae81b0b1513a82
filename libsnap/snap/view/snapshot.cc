// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/view/snapshot.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/counted.h"
#include "libsnap/io/zero_runs.h"
#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/store/tail.h"
#include "libsnap/snap/store/transient_store.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool {
namespace {

// Opens a store to append to: sound, read, with nothing behind its end that may not be cleared.
Result<PersistentStore> open_to_append(Image& origin, File& cow, const SnapshotOptions& options,
                                       const Cancel& cancel) {
  SNAP_ASSIGN(const VerifyReport report, verify_store(cow, origin.size(), cancel));
  if (report.count(DefectCode::kNoStore) > 0) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' is not a store yet: its magic is 0", cow.name()))
        .with_remedy(Remedy::kCreateStore);
  }
  if (const auto refusal = refusal_of(report, cow, "is not written to", true)) return *refusal;
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(cancel));
  if (report.count(DefectCode::kLiveBehindTerminator) > 0 && !options.discard_tail) {
    SNAP_ASSIGN(const TailCheck tail, check_tail(store, origin, cancel, options.tail_keeper));
    if (tail.missing) {
      return Error(
                 ErrorCode::kCorruption,
                 fmt::format(
                     "'{}' is not written to: {} lie{} past the end of its list, and the "
                     "origin does not have the data of origin chunk {:#x} (data chunk {:#x}): they are "
                     "nothing if a power cut tore the last write to the snapshot; if the list's "
                     "beginning was wiped, they are all that is left of it",
                     cow.name(), counted(tail.entries, "entry"), tail.entries == 1 ? "s" : "",
                     tail.missing->old_chunk, tail.missing->new_chunk))
          .with_remedy(Remedy::kDropTail);
    }
  }
  return store;
}

}  // namespace

// Where `offset` lies: in the COW at `cow_offset`, or in the origin, for `length` bytes.
struct Snapshot::Place {
  bool in_cow = false;
  uint64_t cow_offset = 0;
  uint64_t length = 0;
};

Snapshot::Snapshot(Image& origin, std::unique_ptr<ExceptionStore> store,
                   const SnapshotOptions& options)
    : origin_(origin),
      store_(std::move(store)),
      name_(origin.name() + "@" + store_->cow().name()),
      size_(round_down(origin.size(), kSectorSize)),
      chunk_bytes_(store_->chunk_bytes()),
      kind_(options.kind),
      transient_(options.kind == StoreKind::kTransient),
      in_flight_(options.in_flight),
      cow_zeros_(zero_mode_of(store_->cow())),
      buffer_(kIoPiece) {}

Result<std::unique_ptr<Snapshot>> Snapshot::open(Image& origin, File& cow,
                                                 const SnapshotOptions& options,
                                                 const Cancel& cancel) {
  if (options.kind == StoreKind::kTransient) {
    auto store = std::make_unique<TransientStore>(cow, options.chunk_sectors);
    return std::unique_ptr<Snapshot>(new Snapshot(origin, std::move(store), options));
  }
  SNAP_ASSIGN(PersistentStore store, open_to_append(origin, cow, options, cancel));
  // Chunks beyond the origin's end are not for the view.
  const uint64_t chunks = div_round_up(origin.size(), store.chunk_bytes());
  SNAP_ASSIGN(ExceptionTable table, ExceptionTable::load(store, cancel, chunks));
  std::unique_ptr<Snapshot> snapshot(
      new Snapshot(origin, std::make_unique<PersistentStore>(std::move(store)), options));
  snapshot->table_ = std::move(table);
  return snapshot;
}

Result<void> Snapshot::check_usable() const {
  if (failure_) return *failure_;
  if (!valid_) {
    return Error(ErrorCode::kInvalidated, fmt::format("'{}' is invalid", name_));
  }
  return {};
}

Result<void> Snapshot::remember(Result<void> done) {
  // A store that was found full says so itself; anything else leaves chunks without their data.
  if (!done && valid_ && !overflowed_ && !failure_) failure_ = done.error();
  return done;
}

Result<uint64_t> Snapshot::cow_offset(uint64_t new_chunk, uint64_t in_chunk,
                                      uint64_t length) const {
  const auto start = checked_mul(new_chunk, chunk_bytes_);
  const auto end = start ? checked_add(*start, in_chunk + length) : std::nullopt;
  if (end && *end <= cow().size()) return *start + in_chunk;
  return Error(ErrorCode::kCorruption,
               fmt::format("chunk {} of '{}' lies beyond its end", new_chunk, cow().name()));
}

Result<Snapshot::Place> Snapshot::locate(uint64_t offset, uint64_t limit) const {
  const uint64_t in_chunk = offset % chunk_bytes_;
  const ExceptionTable::Found found = table_.find(offset / chunk_bytes_);
  const auto bytes = checked_mul(found.length, chunk_bytes_);
  const uint64_t length = bytes ? std::min(limit, *bytes - in_chunk) : limit;
  if (!found.mapped) return Place{false, 0, length};
  SNAP_ASSIGN(const uint64_t at, cow_offset(found.new_chunk, in_chunk, length));
  return Place{true, at, length};
}

Result<void> Snapshot::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= size_ && out.size() <= size_ - offset);
  SNAP_TRY(check_usable());
  while (!out.empty()) {
    SNAP_ASSIGN(const Place place, locate(offset, out.size()));
    const auto piece = out.first(place.length);
    SNAP_TRY(place.in_cow ? cow().read_at(place.cow_offset, piece)
                          : origin_.read_at(offset, piece));
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

Result<Extent> Snapshot::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  SNAP_TRY(check_usable());
  SNAP_ASSIGN(const Place place, locate(offset, std::min(limit, size_ - offset)));
  if (!place.in_cow) {
    SNAP_ASSIGN(Extent extent, origin_.extent_at(offset, place.length));
    ++extent.depth;
    return extent;
  }
  return cow().extent_at(place.cow_offset, place.length);
}

Error Snapshot::full_error(uint64_t offset) const {
  return Error(
      ErrorCode::kNoSpace,
      fmt::format("'{}' is full: nothing from the snapshot's chunk {} on was "
                  "written{}",
                  cow().name(), offset / chunk_bytes_, valid_ ? "" : ", and it is invalid now"));
}

void Snapshot::add_exception(uint64_t old_chunk, uint64_t new_chunk) {
  table_.insert(old_chunk, new_chunk);
  pending_.push_back({old_chunk, new_chunk});
}

// Has the medium busy with new data before they are waited for.
void Snapshot::new_data_at(uint64_t offset, uint64_t length) {
  constexpr uint64_t kStretch = 8 * kMiB;
  if (offset < writeback_start_ || offset > writeback_end_ + kMiB) writeback_start_ = offset;
  writeback_end_ = offset + length;
  if (writeback_end_ - writeback_start_ < kStretch) return;
  cow().start_writeback(writeback_start_, writeback_end_ - writeback_start_);
  writeback_start_ = writeback_end_;
}

Result<void> Snapshot::write_to_cow(uint64_t offset, std::span<const std::byte> data) {
  return visit_zero_runs(
      offset, data, hole_unit(chunk_bytes_),
      [this](uint64_t at, std::span<const std::byte> run) { return cow().write_at(at, run); },
      [this](uint64_t at, uint64_t length) {
        return zero_outside_holes(cow(), at, length, cow_zeros_);
      });
}

Result<void> Snapshot::copy_from_origin(uint64_t offset, uint64_t length, uint64_t cow_offset) {
  while (length > 0) {
    const auto piece = std::span(buffer_).first(std::min<uint64_t>(length, buffer_.size()));
    SNAP_TRY(origin_.read_at(offset, piece));
    SNAP_TRY(write_to_cow(cow_offset, piece));
    offset += piece.size();
    cow_offset += piece.size();
    length -= piece.size();
  }
  return {};
}

Result<void> Snapshot::invalidate() {
  SNAP_TRY(commit());
  valid_ = false;
  return store_->drop_snapshot();
}

// A part of a chunk that has no exception yet: the rest comes from the origin.
Result<void> Snapshot::write_part(uint64_t offset, std::span<const std::byte> data,
                                  uint64_t new_chunk) {
  const uint64_t start = round_down(offset, chunk_bytes_);
  const uint64_t length = std::min(chunk_bytes_, size_ - start);
  const uint64_t in_chunk = offset - start;
  SNAP_ASSIGN(const uint64_t at, cow_offset(new_chunk, 0, length));
  if (length <= buffer_.size()) {
    // In one piece.
    const auto chunk = std::span(buffer_).first(length);
    const uint64_t behind = in_chunk + data.size();
    SNAP_TRY(origin_.read_at(start, chunk.first(in_chunk)));
    std::copy(data.begin(), data.end(), chunk.begin() + static_cast<ptrdiff_t>(in_chunk));
    SNAP_TRY(origin_.read_at(start + behind, chunk.subspan(behind)));
    return write_to_cow(at, chunk);
  }
  SNAP_TRY(copy_from_origin(start, in_chunk, at));
  SNAP_TRY(write_to_cow(at + in_chunk, data));
  const uint64_t behind = in_chunk + data.size();
  return copy_from_origin(start + behind, length - behind, at + behind);
}

Result<uint64_t> Snapshot::write_new_part(uint64_t offset, std::span<const std::byte> data) {
  const uint64_t start = round_down(offset, chunk_bytes_);
  const auto part = data.first(std::min<uint64_t>(data.size(), start + chunk_bytes_ - offset));
  const auto next = store_->prepare_exception();
  if (!next) return become_full(start);
  if (!next->can_commit) {
    // The kernel has copied the chunk when its commit fails.
    const uint64_t length = std::min(chunk_bytes_, size_ - start);
    SNAP_ASSIGN(const uint64_t at, cow_offset(next->new_chunk, 0, length));
    SNAP_TRY(copy_from_origin(start, length, at));
    SNAP_TRY(invalidate());
    return full_error(start);
  }
  add_exception(start / chunk_bytes_, next->new_chunk);
  SNAP_TRY(write_part(offset, part, next->new_chunk));
  new_data_at(next->new_chunk * chunk_bytes_, chunk_bytes_);
  return part.size();
}

Result<uint64_t> Snapshot::write_new_chunks(uint64_t offset, std::span<const std::byte> data) {
  uint64_t written = 0;    // bytes of `data` that are in the COW
  uint64_t taken = 0;      // bytes of it that have their chunks, the first of which
  uint64_t first_new = 0;  // for data[written]
  const auto write_taken = [&]() -> Result<void> {
    if (taken == written) return {};
    SNAP_ASSIGN(const uint64_t at, cow_offset(first_new, 0, taken - written));
    SNAP_TRY(write_to_cow(at, data.subspan(written, taken - written)));
    new_data_at(at, taken - written);
    written = taken;
    return {};
  };
  while (taken < data.size()) {
    const auto next = store_->prepare_exception();
    if (!next) {
      SNAP_TRY(write_taken());
      return become_full(offset + taken);
    }
    // An area may lie between two chunks.
    if (next->new_chunk != first_new + (taken - written) / chunk_bytes_) SNAP_TRY(write_taken());
    if (taken == written) first_new = next->new_chunk;
    taken += chunk_bytes_;
    if (!next->can_commit) {
      // The kernel has written the data when its commit fails.
      SNAP_TRY(write_taken());
      SNAP_TRY(invalidate());
      return full_error(offset + taken - chunk_bytes_);
    }
    add_exception((offset + taken) / chunk_bytes_ - 1, next->new_chunk);
  }
  SNAP_TRY(write_taken());
  return taken;
}

Error Snapshot::become_full(uint64_t offset) {
  if (kind_ == StoreKind::kPersistentOverflow) {
    overflowed_ = true;
    return full_error(offset);
  }
  if (auto invalidated = invalidate(); !invalidated) return invalidated.error();
  return full_error(offset);
}

Result<void> Snapshot::write_pieces(uint64_t offset, std::span<const std::byte> data) {
  const uint64_t group = std::max<uint64_t>(1, in_flight_ / chunk_bytes_);
  while (!data.empty()) {
    const ExceptionTable::Found found = table_.find(offset / chunk_bytes_);
    uint64_t done = 0;
    if (found.mapped) {
      SNAP_ASSIGN(const Place place, locate(offset, data.size()));
      SNAP_TRY(write_to_cow(place.cow_offset, data.first(place.length)));
      dirty_ = true;
      done = place.length;
    } else {
      dirty_ = true;
      const uint64_t whole = data.size() / chunk_bytes_;
      if (offset % chunk_bytes_ != 0 || whole == 0) {
        SNAP_ASSIGN(done, write_new_part(offset, data));
      } else {
        const uint64_t chunks = std::min({whole, found.length, group});
        SNAP_ASSIGN(done, write_new_chunks(offset, data.first(chunks * chunk_bytes_)));
      }
    }
    offset += done;
    data = data.subspan(done);
    if (pending_.size() >= group) SNAP_TRY(commit());
  }
  return {};
}

Result<void> Snapshot::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(offset <= size_ && data.size() <= size_ - offset);
  SNAP_TRY(check_usable());
  if (overflowed_) {
    return Error(ErrorCode::kNoSpace,
                 fmt::format("'{}' has overflowed: it accepts no more writes", name_));
  }
  return remember(write_pieces(offset, data));
}

Result<void> Snapshot::commit() {
  if (pending_.empty()) return {};
  SNAP_TRY(store_->commit_exceptions(pending_));
  pending_.clear();
  dirty_ = false;
  return {};
}

Result<void> Snapshot::flush() {
  if (failure_) return *failure_;
  SNAP_TRY(remember(commit()));
  if (!dirty_) return {};
  SNAP_TRY(remember(cow().flush()));
  dirty_ = false;
  return {};
}

Result<void> Snapshot::discard(uint64_t offset, uint64_t length, const DiscardOptions& options) {
  SNAP_CHECK(offset <= size_ && length <= size_ - offset);
  if (!options.zeroes_cow) {
    return Error(ErrorCode::kUnsupported,
                 "a snapshot takes discards only with the feature discard_zeroes_cow");
  }
  SNAP_TRY(check_usable());
  if (overflowed_) {
    return Error(ErrorCode::kNoSpace,
                 fmt::format("'{}' has overflowed: it accepts no more writes", name_));
  }
  const uint64_t end = offset + length;
  for (uint64_t at = offset; at < end;) {
    const uint64_t in_chunk = at % chunk_bytes_;
    const ExceptionTable::Found found = table_.find(at / chunk_bytes_);
    const auto stretch = checked_mul(found.length, chunk_bytes_);
    if (!found.mapped) {
      at = stretch ? at + std::min(end - at, *stretch - in_chunk) : end;
      continue;
    }
    const uint64_t piece = std::min(end - at, chunk_bytes_ - in_chunk);
    SNAP_ASSIGN(const uint64_t target, cow_offset(found.new_chunk, in_chunk, piece));
    SNAP_TRY(remember(
        cow().zero_at(target, piece, piece == chunk_bytes_ ? ZeroMode::kKeep : ZeroMode::kPunch)));
    dirty_ = true;
    at += piece;
  }
  if (options.passdown_origin) return origin_.punch_at(offset, length);
  return {};
}

uint64_t Snapshot::exceptions_needed(uint64_t offset, uint64_t length) const {
  if (length == 0) return 0;
  uint64_t needed = 0;
  const uint64_t end = (offset + length - 1) / chunk_bytes_ + 1;
  for (uint64_t chunk = offset / chunk_bytes_; chunk < end;) {
    const ExceptionTable::Found found = table_.find(chunk);
    const uint64_t count = std::min(found.length, end - chunk);
    if (!found.mapped) needed += count;
    chunk += count;
  }
  return needed;
}

uint64_t Snapshot::exceptions_needed_to_merge(ExceptionTable& upper,
                                              uint64_t upper_chunk_bytes) const {
  uint64_t needed = 0;
  uint64_t counted = 0;  // chunks before this one are
  upper.visit([&](uint64_t old_chunk, uint64_t, uint64_t length) {
    const uint64_t start = std::max(old_chunk * upper_chunk_bytes, counted * chunk_bytes_);
    const uint64_t end = std::min((old_chunk + length) * upper_chunk_bytes, size_);
    if (start >= end) return;
    needed += exceptions_needed(start, end - start);
    counted = div_round_up(end, chunk_bytes_);
  });
  return needed;
}

Snapshot::CopyOut Snapshot::prepare_copy_out(std::span<const ByteRange> ranges) {
  CopyOut copies;
  if (!valid_ || failure_) return copies;
  for (const ByteRange& range : ranges) {
    if (range.length == 0 || range.offset >= size_) continue;
    const uint64_t last = range.offset + std::min(range.length, size_ - range.offset) - 1;
    const uint64_t end = last / chunk_bytes_ + 1;
    for (uint64_t chunk = range.offset / chunk_bytes_; chunk < end && !copies.full;) {
      const ExceptionTable::Found found = table_.find(chunk);
      if (found.mapped) {
        chunk += std::min(found.length, end - chunk);
        continue;
      }
      const auto next = store_->prepare_exception();
      copies.full = !next || !next->can_commit;
      if (!next) break;
      if (next->can_commit) add_exception(chunk, next->new_chunk);
      const uint64_t source = chunk * chunk_bytes_;
      copies.ops.push_back(
          {source, next->new_chunk * chunk_bytes_, std::min(chunk_bytes_, size_ - source)});
      ++chunk;
    }
  }
  const auto by_source = [](const CopyOp& a, const CopyOp& b) { return a.source < b.source; };
  if (!std::is_sorted(copies.ops.begin(), copies.ops.end(), by_source)) {
    std::sort(copies.ops.begin(), copies.ops.end(), by_source);
  }
  size_t kept = 0;
  for (const CopyOp& op : copies.ops) {
    if (kept > 0) {
      CopyOp& before = copies.ops[kept - 1];
      if (before.source + before.length == op.source &&
          before.target + before.length == op.target) {
        before.length += op.length;
        continue;
      }
    }
    copies.ops[kept++] = op;
  }
  copies.ops.resize(kept);
  return copies;
}

void Snapshot::abandon(const Error& error) {
  if (!failure_) failure_ = error;
}

Result<void> Snapshot::commit_copy_out(const CopyOut& copies) {
  if (failure_) return *failure_;
  return remember(copies.full ? invalidate() : commit());
}

std::optional<uint64_t> Snapshot::cow_size_for(uint64_t more) const {
  return checked_mul(store_->chunks_for(more), chunk_bytes_);
}

std::string Snapshot::status() const {
  if (!valid_) return "Invalid";
  if (overflowed_) return "Overflow";
  const Usage usage = store_->usage();
  return fmt::format("{}/{} {}", usage.allocated_sectors, usage.total_sectors,
                     usage.metadata_sectors);
}

}  // namespace snaptool
