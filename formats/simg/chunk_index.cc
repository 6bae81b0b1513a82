// SPDX-License-Identifier: Apache-2.0
#include "formats/simg/chunk_index.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::simg {
namespace {

constexpr size_t kMostPlaces = 65536;      // 1 MiB
constexpr uint64_t kReadAhead = 4 * kKiB;  // of headers; behind one there may be much of data

}  // namespace

Result<Header> read_header(File& file) {
  const auto read = [&]() -> Result<Header> {
    std::array<std::byte, kHeaderBytes> bytes{};
    if (file.size() < bytes.size()) {
      return Error(ErrorCode::kCorruption, "the header is cut off");
    }
    SNAP_TRY(file.read_at(0, bytes));
    auto parsed = parse_header(bytes);
    if (parsed && parsed->header_bytes > file.size()) {
      return Error(ErrorCode::kCorruption, "the header is cut off");
    }
    return parsed;
  };
  auto header = read();
  if (header) return header;
  return std::move(header).error().with_context(fmt::format("'{}'", file.name()));
}

Error ChunkReader::damaged(uint64_t position, std::string_view what) const {
  return {ErrorCode::kCorruption, fmt::format("'{}' at byte {}: {}", file_.name(), position, what)};
}

// They stay until the next call.
Result<std::span<const std::byte>> ChunkReader::bytes(uint64_t position, size_t size) {
  const uint64_t there = position < file_.size() ? file_.size() - position : 0;
  if (there < size) {
    return damaged(position, "the file ends here, within its chunks: it was cut");
  }
  if (position < start_ || position - start_ > buffer_.size() ||
      buffer_.size() - (position - start_) < size) {
    buffer_.resize(std::min(there, kReadAhead));
    start_ = position;
    auto read = file_.read_at(position, buffer_);
    if (!read) {
      buffer_.clear();
      return std::move(read).error();
    }
  }
  return std::span<const std::byte>(buffer_).subspan(position - start_, size);
}

Result<Chunk> ChunkReader::at(const Place& place) {
  SNAP_ASSIGN(const auto head, bytes(place.position, kChunkHeaderBytes));
  auto header = parse_chunk(head, header_);
  if (!header) return damaged(place.position, header.error().message());
  if (header->total_bytes > file_.size() - place.position) {
    return damaged(place.position, "a chunk that passes the end of the file: it was cut");
  }
  Chunk chunk;
  chunk.type = header->type;
  chunk.place = place;
  chunk.length = uint64_t{header->blocks} * header_.block_size;
  if (chunk.length > header_.size() - place.offset) {
    return damaged(place.position, "a chunk that passes the end of the image");
  }
  chunk.data = place.position + header_.chunk_header_bytes;
  if (chunk.type == ChunkType::kFill || chunk.type == ChunkType::kCrc) {
    SNAP_ASSIGN(const auto value, bytes(chunk.data, kValueBytes));
    chunk.value = load_le<uint32_t>(value.data());
  }
  chunk.next = {place.position + header->total_bytes, place.offset + chunk.length};
  return chunk;
}

Result<std::optional<Chunk>> ChunkWalk::next(const Cancel& cancel) {
  if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
  if (seen_ == header_.chunks) {
    if (place_.offset == header_.size()) return std::nullopt;
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}': its {} chunks have {} bytes of the image, which has {}",
                             file_.name(), header_.chunks, place_.offset, header_.size()));
  }
  SNAP_ASSIGN(const Chunk chunk, reader_.at(place_));
  ++seen_;
  place_ = chunk.next;
  return chunk;
}

Result<ChunkIndex::Totals> ChunkIndex::build(const Cancel& cancel) {
  ChunkWalk walk(file_, header_);
  Totals totals;
  totals.has_sum = header_.checksum != 0;
  while (true) {
    SNAP_ASSIGN(const auto chunk, walk.next(cancel));
    if (!chunk) break;
    keep(chunk->place);
    if (chunk->type == ChunkType::kDontCare) totals.dont_care += chunk->length;
    if (chunk->type == ChunkType::kCrc) totals.has_sum = true;
  }
  totals.end = walk.place().position;
  return totals;
}

void ChunkIndex::keep(const Place& place) {
  if (seen_++ % step_ != 0) return;
  if (places_.size() == kMostPlaces) {
    for (size_t i = 0; i < kMostPlaces / 2; ++i) places_[i] = places_[2 * i];
    places_.resize(kMostPlaces / 2);
    step_ *= 2;
    if ((seen_ - 1) % step_ != 0) return;
  }
  places_.push_back(place);
}

std::optional<Chunk> ChunkIndex::look_up(uint64_t offset, Place& before) {
  const auto after =
      std::upper_bound(places_.begin(), places_.end(), offset,
                       [](uint64_t wanted, const Place& place) { return wanted < place.offset; });
  before = *std::prev(after);  // the first one is of byte 0
  const std::lock_guard lock(mutex_);
  for (const Chunk& chunk : recent_) {
    if (chunk.length == 0 || chunk.place.offset > offset) continue;
    if (chunk.next.offset > offset) return chunk;
    if (chunk.next.position > before.position) before = chunk.next;
  }
  return std::nullopt;
}

void ChunkIndex::remember(const Chunk& chunk) {
  const std::lock_guard lock(mutex_);
  recent_[next_recent_++ % recent_.size()] = chunk;
}

Result<Chunk> ChunkIndex::find(uint64_t offset) {
  Place place;
  if (const auto known = look_up(offset, place)) return *known;
  auto reader = readers_.take([this] { return std::make_unique<ChunkReader>(file_, header_); });
  while (true) {
    SNAP_ASSIGN(const Chunk chunk, reader->at(place));
    if (chunk.next.offset > offset) {
      remember(chunk);
      return chunk;
    }
    place = chunk.next;
  }
}

}  // namespace snaptool::simg
