// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/part_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool {

PartFile::PartFile(std::string name, std::vector<PartSegment> segments)
    : name_(std::move(name)), segments_(std::move(segments)) {
  std::erase_if(segments_, [](const PartSegment& segment) { return segment.length == 0; });
  for (const PartSegment& segment : segments_) {
    const uint64_t legs = std::max<uint64_t>(1, segment.legs.size());
    SNAP_CHECK(legs == 1 || (segment.stripe > 0 && segment.length % (segment.stripe * legs) == 0));
    for (const PartSegment::Leg& leg : segment.legs) {
      SNAP_CHECK(checked_add(leg.offset, segment.length / legs).has_value());
      if (std::find(files_.begin(), files_.end(), leg.file.get()) == files_.end()) {
        files_.push_back(leg.file.get());
      }
    }
    starts_.push_back(size_);
    const auto end = checked_add(size_, segment.length);
    SNAP_CHECK(end.has_value());
    size_ = *end;
  }
}

std::vector<Storage> PartFile::storages() const {
  std::vector<Storage> storages;
  for (const PartSegment& segment : segments_) {
    for (const PartSegment::Leg& leg : segment.legs) {
      const uint64_t end = leg.offset + segment.length / segment.legs.size();
      uint64_t at = 0;  // in the leg's file
      for (const Storage& below : leg.file->storages()) {
        const uint64_t from = std::max(leg.offset, at);
        const uint64_t to = std::min(end, at + below.size);
        if (from < to) storages.push_back({below.id, below.offset + (from - at), to - from});
        at += below.size;
      }
    }
  }
  return storages;
}

unsigned PartFile::permissions() const {
  unsigned permissions = File::permissions();
  for (const File* file : files_) permissions &= file->permissions();
  return permissions;
}

uint64_t PartFile::missing() const {
  uint64_t missing = 0;
  for (const PartSegment& segment : segments_) {
    for (const PartSegment::Leg& leg : segment.legs) {
      const uint64_t length = segment.length / segment.legs.size();
      const uint64_t there = leg.file->size() - std::min(leg.file->size(), leg.offset);
      missing += length - std::min(length, there);
    }
  }
  return missing;
}

PartFile::Place PartFile::locate(uint64_t offset, uint64_t limit) const {
  const size_t index = static_cast<size_t>(
      std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin() - 1);
  const PartSegment& segment = segments_[index];
  const uint64_t in_segment = offset - starts_[index];
  const uint64_t left = std::min(limit, segment.length - in_segment);
  if (segment.legs.empty()) return {nullptr, 0, left};
  if (segment.legs.size() == 1) {
    return {segment.legs.front().file.get(), segment.legs.front().offset + in_segment, left};
  }
  const uint64_t stripe = in_segment / segment.stripe;
  const uint64_t in_stripe = in_segment % segment.stripe;
  const PartSegment::Leg& leg = segment.legs[stripe % segment.legs.size()];
  return {leg.file.get(), leg.offset + stripe / segment.legs.size() * segment.stripe + in_stripe,
          std::min(left, segment.stripe - in_stripe)};
}

Result<PartFile::Place> PartFile::locate_for_writing(uint64_t offset, uint64_t limit) const {
  const Place place = locate(offset, limit);
  if (place.file == nullptr) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("byte {} of '{}' lies nowhere: it is zero for good", offset, name_));
  }
  if (place.offset > place.file->size() || place.length > place.file->size() - place.offset) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' ends at byte {}, before the end of '{}'", place.file->name(),
                             place.file->size(), name_));
  }
  return place;
}

template <typename Read>
Result<void> PartFile::read_places(uint64_t offset, std::span<std::byte> out,
                                   const Read& read) const {
  if (offset > size_ || out.size() > size_ - offset) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' ends at byte {}, but {} bytes at byte {} are needed", name_,
                             size_, out.size(), offset));
  }
  while (!out.empty()) {
    const Place place = locate(offset, out.size());
    const auto piece = out.first(place.length);
    if (place.file == nullptr) {
      std::memset(piece.data(), 0, piece.size());
    } else {
      SNAP_TRY(read(*place.file, place.offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  return {};
}

Result<void> PartFile::read_at(uint64_t offset, std::span<std::byte> out) {
  return read_places(offset, out, [](File& file, uint64_t at, std::span<std::byte> piece) {
    return file.read_at(at, piece);
  });
}

Result<void> PartFile::read_medium(uint64_t offset, std::span<std::byte> out) {
  return read_places(offset, out, [](File& file, uint64_t at, std::span<std::byte> piece) {
    return file.read_medium(at, piece);
  });
}

Result<void> PartFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_CHECK(offset <= size_ && data.size() <= size_ - offset);
  while (!data.empty()) {
    SNAP_ASSIGN(const Place place, locate_for_writing(offset, data.size()));
    SNAP_TRY(place.file->write_at(place.offset, data.first(place.length)));
    offset += place.length;
    data = data.subspan(place.length);
  }
  return {};
}

Result<void> PartFile::zero_at(uint64_t offset, uint64_t length, ZeroMode mode) {
  SNAP_CHECK(offset <= size_ && length <= size_ - offset);
  while (length > 0) {
    SNAP_ASSIGN(const Place place, locate_for_writing(offset, length));
    SNAP_TRY(place.file->zero_at(place.offset, place.length, mode));
    offset += place.length;
    length -= place.length;
  }
  return {};
}

Result<void> PartFile::resize(uint64_t /*size*/) {
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}' is part of a file: its size is fixed", name_));
}

Result<void> PartFile::flush() { return begin_flush().get(); }

bool PartFile::is_sparse() const {
  return std::any_of(files_.begin(), files_.end(),
                     [](const File* file) { return file->is_sparse(); });
}

std::future<Result<void>> PartFile::begin_flush() {
  std::vector<std::future<Result<void>>> begun;
  for (File* file : files_) begun.push_back(file->begin_flush());
  return std::async(std::launch::deferred, [begun = std::move(begun)]() mutable {
    Result<void> result;
    for (auto& flush : begun) {
      auto flushed = flush.get();
      if (!flushed && result) result = std::move(flushed);
    }
    return result;
  });
}

std::optional<uint64_t> PartFile::space_left() const {
  return files_.size() == 1 ? files_.front()->space_left() : std::nullopt;
}

Result<Extent> PartFile::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  const Place place = locate(offset, std::min(limit, size_ - offset));
  if (place.file == nullptr) return Extent{place.length, true, 0, this, offset};
  if (place.offset >= place.file->size()) {
    return Extent{place.length, false, 0, place.file, place.offset};
  }
  return place.file->extent_at(place.offset, place.length);
}

template <typename Visit>
void PartFile::for_each_place(uint64_t offset, uint64_t length, const Visit& visit) const {
  length = offset < size_ ? std::min(length, size_ - offset) : 0;
  while (length > 0) {
    const Place place = locate(offset, length);
    if (place.file != nullptr) visit(place);
    offset += place.length;
    length -= place.length;
  }
}

void PartFile::will_need(uint64_t offset, uint64_t length) {
  for_each_place(offset, length,
                 [](const Place& place) { place.file->will_need(place.offset, place.length); });
}

bool PartFile::share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) {
  const auto place = locate_for_writing(offset, length);
  return place && place->length >= length &&
         place->file->share_from(place->offset, source, source_offset, length);
}

uint64_t PartFile::shared_bytes() const {
  uint64_t bytes = 0;
  for (const File* const file : files_) bytes += file->shared_bytes();
  return bytes;
}

bool PartFile::may_share() const {
  return std::any_of(files_.begin(), files_.end(),
                     [](const File* file) { return file->may_share(); });
}

void PartFile::start_writeback(uint64_t offset, uint64_t length) {
  for_each_place(offset, length, [](const Place& place) {
    place.file->start_writeback(place.offset, place.length);
  });
}

bool PartFile::forget_cache(uint64_t offset, uint64_t length) {
  if (offset == 0 && length >= size_) {
    bool all = true;
    for (File* const file : files_) all = file->forget_cache(0, file->size()) && all;
    return all;
  }
  bool all = true;
  for_each_place(offset, length, [&](const Place& place) {
    all = place.file->forget_cache(place.offset, place.length) && all;
  });
  return all;
}

}  // namespace snaptool
