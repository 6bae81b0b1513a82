// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/view/snapshot_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/snap/store/tail.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool {

SnapshotImage::SnapshotImage(Image& origin, PersistentStore store)
    : origin_(origin),
      store_(std::move(store)),
      name_(origin.name() + "@" + store_.cow().name()),
      size_(round_down(origin.size(), kSectorSize)) {}

// What is wrong with a store that is shown all the same.
static std::vector<std::string> doubts_of(const VerifyReport& report, const std::string& name) {
  std::vector<std::string> doubts;
  if (report.count(DefectCode::kInvalid) > 0) {
    doubts.push_back(
        fmt::format("'{}' is marked invalid: chunks that are not in it come from the origin and "
                    "may be newer than the snapshot",
                    name));
  }
  for (const Finding& finding : report.findings) {
    if (severity_of(finding.code) != Severity::kCorrupt || finding.code == DefectCode::kInvalid) {
      continue;
    }
    doubts.push_back(fmt::format("'{}' is corrupt, and is shown as the kernel would: {} ({})", name,
                                 finding.message, defect_code_name(finding.code)));
    break;
  }
  return doubts;
}

Result<std::unique_ptr<SnapshotImage>> SnapshotImage::open(Image& origin, File& cow, Damage damage,
                                                           const Cancel& cancel) {
  SNAP_ASSIGN(auto store, PersistentStore::open(cow));
  std::unique_ptr<SnapshotImage> image(new SnapshotImage(origin, std::move(store)));
  if (image->state() == StoreState::kNone) return image;
  if (damage != Damage::kChecked) {
    SNAP_ASSIGN(const VerifyReport report, verify_store(cow, origin.size(), cancel));
    const auto refusal = refusal_of(report, cow, "is not read", false);
    if (refusal && damage == Damage::kRefuse) return *refusal;
    image->doubts_ = doubts_of(report, cow.name());
    if (report.count(DefectCode::kLiveBehindTerminator) > 0 && !refusal) {
      SNAP_TRY(image->store_.read_metadata(cancel));
      SNAP_ASSIGN(auto doubt, doubt_of_tail(image->store_, origin, cancel));
      if (doubt) image->doubts_.push_back(std::move(*doubt));
    }
  }
  SNAP_ASSIGN(image->table_, ExceptionTable::load(image->store_, cancel));
  return image;
}

Result<std::unique_ptr<SnapshotImage>> SnapshotImage::open_head(Image& origin, File& cow,
                                                                uint64_t length,
                                                                const Cancel& cancel) {
  SNAP_ASSIGN(auto store, PersistentStore::open(cow));
  std::unique_ptr<SnapshotImage> image(new SnapshotImage(origin, std::move(store)));
  image->size_ = std::min(image->size_, length);
  if (image->state() == StoreState::kNone) return image;
  const uint64_t chunks = div_round_up(length, image->store_.layout().chunk_bytes());
  SNAP_ASSIGN(image->table_, ExceptionTable::load(image->store_, cancel, chunks));
  return image;
}

Result<SnapshotImage::Place> SnapshotImage::locate(uint64_t offset, uint64_t limit) const {
  if (store_.state() == StoreState::kNone) return Place{false, 0, limit};
  const uint64_t chunk_bytes = store_.layout().chunk_bytes();
  const uint64_t chunk = offset / chunk_bytes;
  const uint64_t in_chunk = offset % chunk_bytes;
  const ExceptionTable::Found found = table_.find(chunk);
  const auto bytes = checked_mul(found.length, chunk_bytes);
  const uint64_t length = bytes ? std::min(limit, *bytes - in_chunk) : limit;
  if (!found.mapped) return Place{false, 0, length};
  const auto start = store_.layout().chunk_offset(found.new_chunk);
  if (!start || *start + in_chunk >= store_.cow().size()) {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("chunk {} of '{}' is said to be in chunk {} of '{}', beyond that file's end",
                    chunk, name_, found.new_chunk, store_.cow().name()));
  }
  return Place{true, *start + in_chunk, length};
}

Result<void> SnapshotImage::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= size_ && out.size() <= size_ - offset);
  while (!out.empty()) {
    SNAP_ASSIGN(const Place place, locate(offset, out.size()));
    const auto piece = out.first(place.length);
    if (place.in_cow) {
      SNAP_TRY(store_.cow().read_at(place.cow_offset, piece));
    } else {
      SNAP_TRY(origin_.read_at(offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

Result<Extent> SnapshotImage::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  limit = std::min(limit, size_ - offset);
  SNAP_ASSIGN(const Place place, locate(offset, limit));
  if (!place.in_cow) {
    SNAP_ASSIGN(Extent extent, origin_.extent_at(offset, place.length));
    ++extent.depth;
    return extent;
  }
  const uint64_t available = std::min(place.length, store_.cow().size() - place.cow_offset);
  return store_.cow().extent_at(place.cow_offset, available);
}

}  // namespace snaptool
