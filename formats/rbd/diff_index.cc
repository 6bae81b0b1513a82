// SPDX-License-Identifier: Apache-2.0
#include "formats/rbd/diff_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/rbd/rbd_diff.h"
#include "libsnap/base/endian.h"

namespace snaptool::rbd {
namespace {

constexpr uint64_t kTagBytes = 1;
constexpr uint64_t kNumberBytes = 8;
constexpr uint64_t kRangeBytes = 2 * kNumberBytes;  // offset, length
constexpr size_t kMostPlaces = 8192;
constexpr char kLastTag = 'e';

}  // namespace

Error RecordFile::damaged(uint64_t at, std::string_view what) const {
  return {ErrorCode::kCorruption, fmt::format("'{}' at byte {}: {}", file_.name(), at, what)};
}

Result<Record> RecordFile::record_at(uint64_t at, char last) const {
  std::array<std::byte, kTagBytes + kNumberBytes> bytes{};
  const uint64_t there = at < file_.size() ? file_.size() - at : 0;
  const auto head = std::span(bytes).first(std::min<uint64_t>(there, bytes.size()));
  if (head.empty()) return damaged(at, "the file ends here: it was cut");
  SNAP_TRY(file_.read_at(at, head));
  Record record;
  record.tag = static_cast<char>(head[0]);
  record.content = at + kTagBytes;
  if (record.tag == last) return record;
  if (record.tag == 0) return damaged(at, "a tag that there is not");
  if (head.size() < bytes.size()) return damaged(at, "the file ends within a record: it was cut");
  record.content = at + bytes.size();
  record.length = load_le<uint64_t>(&head[kTagBytes]);
  if (record.length > there - bytes.size()) {
    return damaged(at, "a record that passes the end of the file: it was cut");
  }
  if (record.tag == 'p' && record.length == kSaidOfProtection) {
    std::array<std::byte, 1> next{};
    SNAP_TRY(file_.read_at(record.content + 1, next));
    if (next[0] != std::byte{0}) record.length = 1;
  }
  return record;
}

Result<uint64_t> RecordFile::number_at(uint64_t at) const {
  std::array<std::byte, kNumberBytes> bytes{};
  SNAP_TRY(file_.read_at(at, bytes));
  return load_le<uint64_t>(bytes.data());
}

Result<std::string> RecordFile::text_in(const Record& record, uint64_t at, uint64_t most) const {
  constexpr uint64_t kLengthBytes = 4;
  if (record.end() - at < kLengthBytes) return damaged(at, "a record of a wrong length");
  std::array<std::byte, kLengthBytes> bytes{};
  SNAP_TRY(file_.read_at(at, bytes));
  const auto length = load_le<uint32_t>(bytes.data());
  if (length > most) return damaged(at, fmt::format("a text of more than {} bytes", most));
  if (length > record.end() - at - kLengthBytes) return damaged(at, "a record of a wrong length");
  std::string text(length, 0);
  SNAP_TRY(file_.read_at(at + kLengthBytes, std::as_writable_bytes(std::span(text))));
  return text;
}

Result<void> RecordFile::expect(uint64_t at, std::string_view banner) const {
  std::string found(banner.size(), 0);
  if (at > file_.size() || file_.size() - at < banner.size()) {
    return damaged(at, "the file ends here: it was cut");
  }
  SNAP_TRY(file_.read_at(at, std::as_writable_bytes(std::span(found))));
  if (found == banner) return {};
  return damaged(at, fmt::format("'{}' is missing", banner.substr(0, banner.size() - 1)));
}

Result<DiffIndex> DiffIndex::read(File& file, uint64_t at, const Cancel& cancel) {
  DiffIndex diff(file);
  SNAP_TRY(diff.records_.expect(at, kBanner2));
  at += kBanner2.size();
  bool has_size = false;
  uint64_t ranges_end = 0;
  while (true) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const Record record, diff.records_.record_at(at, kLastTag));
    diff.keep({ranges_end, at});
    if (record.tag == kLastTag) {
      diff.end_ = record.end();
      break;
    }
    if (record.tag == 'f') {
      SNAP_TRY(diff.read_name(record, at, diff.from_name_));
    } else if (record.tag == 't') {
      SNAP_TRY(diff.read_name(record, at, diff.to_name_));
    } else if (record.tag == 's') {
      if (record.length != kNumberBytes || has_size) {
        return diff.records_.damaged(at, "a size that cannot be");
      }
      SNAP_ASSIGN(diff.size_, diff.records_.number_at(record.content));
      if (diff.size_ > kMostImageBytes) return diff.records_.damaged(at, "a size that cannot be");
      has_size = true;
    } else if (record.tag == 'w' || record.tag == 'z') {
      if (!has_size) return diff.records_.damaged(at, "a range before the image's size");
      SNAP_ASSIGN(const auto range, diff.range_of(record, at));
      if (range && range->offset < ranges_end) {
        return Error(ErrorCode::kUnsupported,
                     fmt::format("'{}' at byte {}: the ranges do not ascend", file.name(), at));
      }
      if (range) ranges_end = range->end();
    }
    at = record.end();
  }
  if (!has_size) return diff.records_.damaged(at, "a diff does not say how large the image is");
  return diff;
}

Result<void> DiffIndex::read_name(const Record& record, uint64_t at, std::string& name) {
  SNAP_ASSIGN(name, records_.text_in(record, record.content, kMostName));
  if (record.length == 4 + name.size() && !name.empty()) return {};
  return records_.damaged(at, "a record of a wrong length");
}

// nullopt: it is empty.
Result<std::optional<DiffIndex::Range>> DiffIndex::range_of(const Record& record,
                                                            uint64_t at) const {
  std::array<std::byte, kRangeBytes> bytes{};
  if (record.length < bytes.size()) return records_.damaged(at, "a record of a wrong length");
  SNAP_TRY(records_.file().read_at(record.content, bytes));
  Range range;
  range.offset = load_le<uint64_t>(bytes.data());
  range.length = load_le<uint64_t>(&bytes[kNumberBytes]);
  range.data = record.tag == 'w';
  range.file_offset = record.content + kRangeBytes;
  if (range.offset > size_ || range.length > size_ - range.offset) {
    return records_.damaged(at, "a range that passes the end of the image");
  }
  if (record.length - kRangeBytes != (range.data ? range.length : 0)) {
    return records_.damaged(at, "a record of a wrong length");
  }
  return range.length > 0 ? std::optional(range) : std::nullopt;
}

void DiffIndex::keep(const Place& place) {
  if (records_seen_++ % step_ != 0) return;
  if (places_.size() == kMostPlaces) {
    for (size_t i = 0; i < kMostPlaces / 2; ++i) places_[i] = places_[2 * i];
    places_.resize(kMostPlaces / 2);
    step_ *= 2;
    if ((records_seen_ - 1) % step_ != 0) return;
  }
  places_.push_back(place);
}

DiffIndex::Place DiffIndex::place_before(uint64_t offset) const {
  const auto after =
      std::upper_bound(places_.begin(), places_.end(), offset,
                       [](uint64_t wanted, const Place& place) { return wanted < place.offset; });
  Place best = *std::prev(after);  // the first one is of byte 0
  const std::lock_guard lock(recent_->mutex);
  for (const Place& place : recent_->places) {
    if (place.offset > best.offset && place.offset <= offset) best = place;
  }
  return best;
}

void DiffIndex::remember(const Place& place) {
  const std::lock_guard lock(recent_->mutex);
  recent_->places[recent_->next++ % recent_->places.size()] = place;
}

Result<std::optional<DiffIndex::Range>> DiffIndex::find(uint64_t offset) {
  uint64_t at = place_before(offset).position;
  while (true) {
    SNAP_ASSIGN(const Record record, records_.record_at(at, kLastTag));
    std::optional<Range> range;
    if (record.tag == 'w' || record.tag == 'z') {
      SNAP_ASSIGN(range, range_of(record, at));
    }
    if (record.tag == kLastTag || (range && range->end() > offset)) {
      remember({range ? std::min(range->offset, offset) : offset, at});
      return range;
    }
    at = record.end();
  }
}

}  // namespace snaptool::rbd
