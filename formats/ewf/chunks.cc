// SPDX-License-Identifier: Apache-2.0
#include "formats/ewf/chunks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/zlib_format.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::ewf {
namespace {

constexpr uint32_t kWindowEntries = 1024;
constexpr uint64_t kMostKept = 4 * kMiB;  // of chunks that were read in pieces
constexpr uint64_t kLargeChunk = kMiB;
constexpr size_t kMostChunksKept = 16;

// Sums up entries front to back, and looks for the one with which offsets outgrow 31 bits: EnCase
// 6.7 goes on with 32 bits then, and does not compress any more.
struct EntryScan {
  uint32_t overflow = UINT32_MAX;
  uint32_t index = 0;
  uint32_t before = 0;

  void add(uint32_t entry) {
    const bool lower = index > 0 && (entry & kMostOffset) < (before & kMostOffset);
    if (overflow == UINT32_MAX && lower && (entry & kCompressedBit) != 0) overflow = index;
    before = entry;
    ++index;
  }
};

// What is found where the entries of a table are.
struct Scanned {
  bool right = false;  // the sum is
  uint32_t sum = 0;
  uint32_t overflow = UINT32_MAX;
};

Result<Scanned> scan_entries(File& file, uint64_t position, const Table& table) {
  Scanned scanned;
  EntryScan scan;
  Adler32 sum;
  RawBytes bytes;
  const uint64_t size = kEntryBytes * uint64_t{table.entries};
  for (uint64_t at = 0; at < size; at += bytes.size()) {
    bytes.resize(std::min<uint64_t>(64 * kKiB, size - at));
    SNAP_TRY(file.read_at(position + at, bytes));
    sum.add(bytes);
    for (size_t i = 0; i < bytes.size(); i += kEntryBytes) {
      scan.add(load_le<uint32_t>(bytes.data() + i));
    }
  }
  scanned.sum = sum.value();
  scanned.overflow = scan.overflow;
  scanned.right = true;
  if (table.has_sum) {
    std::array<std::byte, kSumBytes> stored{};
    SNAP_TRY(file.read_at(position + size, stored));
    scanned.right = load_le<uint32_t>(stored.data()) == scanned.sum;
  }
  return scanned;
}

// Whether a table and its copy have the same entries. Their sums can be made equal.
Result<bool> has_equal_copy(File& file, const Table& table) {
  RawBytes one;
  RawBytes other;
  const uint64_t size = kEntryBytes * uint64_t{table.entries};
  for (uint64_t at = 0; at < size; at += one.size()) {
    one.resize(std::min<uint64_t>(64 * kKiB, size - at));
    other.resize(one.size());
    SNAP_TRY(file.read_at(table.position + at, one));
    SNAP_TRY(file.read_at(table.copy + at, other));
    if (one != other) return false;
  }
  return true;
}

}  // namespace

void ChunkFinder::warn(const std::string& text) const {
  if (warn_) warn_(text);
}

// Which of a table and its copy is used. Errors: kCorruption when both are sound and differ; kIo.
Result<ChunkFinder::State> ChunkFinder::decide(const Table& table) {
  File& file = contents_.file_of(table.segment);
  SNAP_ASSIGN(const Scanned first, scan_entries(file, table.position, table));
  Scanned copy;
  if (table.copy != 0) {
    SNAP_ASSIGN(copy, scan_entries(file, table.copy, table));
  }
  bool equal = true;
  if (first.right && copy.right) {
    SNAP_ASSIGN(equal, has_equal_copy(file, table));
  }
  if (!equal) {
    return in_file(broken(fmt::format("the table at byte {} and its copy are both sound, and "
                                      "differ",
                                      table.position)),
                   file);
  }
  // Without so many bytes an offset cannot outgrow its bits.
  const bool large = table.data_end - std::min(table.data_end, table.base) > kMostOffset;
  State state;
  state.use = first.right ? State::Use::kTable : copy.right ? State::Use::kCopy : State::Use::kNone;
  if (large) state.overflow = first.right ? first.overflow : copy.overflow;
  if (!first.right && copy.right) {
    warn(fmt::format("'{}': the table at byte {} is damaged: its copy is used", file.name(),
                     table.position));
  } else if (first.right && table.copy != 0 && !copy.right) {
    warn(fmt::format("'{}': the copy of the table at byte {} is damaged", file.name(),
                     table.position));
  }
  return state;
}

Result<ChunkFinder::State> ChunkFinder::check(size_t index) {
  State& state = states_[index];
  const Table& table = contents_.tables[index];
  if (state.use == State::Use::kUnknown) {
    SNAP_ASSIGN(state, decide(table));
  }
  if (state.use != State::Use::kNone) return state;
  return in_file(broken(fmt::format("the table at byte {} is damaged{}", table.position,
                                    table.copy != 0 ? ", and so is its copy" : "")),
                 contents_.file_of(table.segment));
}

Result<ChunkFinder::Pair> ChunkFinder::entries_at(size_t index, const State& state,
                                                  uint32_t entry) {
  const Table& table = contents_.tables[index];
  const uint32_t first = entry - entry % kWindowEntries;
  Window& window = windows_[(index + entry / kWindowEntries) % windows_.size()];
  if (window.table != index || window.first != first) {
    // One more, where the next window begins.
    const uint32_t count = std::min(kWindowEntries + 1, table.entries - first);
    std::vector<std::byte> bytes(count * kEntryBytes);
    const uint64_t position = state.use == State::Use::kCopy ? table.copy : table.position;
    SNAP_TRY(
        contents_.file_of(table.segment).read_at(position + kEntryBytes * uint64_t{first}, bytes));
    window.table = index;
    window.first = first;
    window.entries.resize(count);
    for (uint32_t i = 0; i < count; ++i) {
      window.entries[i] = load_le<uint32_t>(bytes.data() + i * kEntryBytes);
    }
  }
  const uint32_t at = entry - first;
  const bool last = entry + 1 == table.entries;
  return Pair{window.entries[at], last ? 0 : window.entries[at + 1]};
}

Result<ChunkPlace> ChunkFinder::find(uint64_t chunk) {
  if (chunk >= contents_.chunks) {
    return broken(
        fmt::format("'{}': no table has chunk {}", contents_.files.front()->name(), chunk));
  }
  const auto after = std::upper_bound(
      contents_.tables.begin(), contents_.tables.end(), chunk,
      [](uint64_t wanted, const Table& table) { return wanted < table.first_chunk; });
  const Table& table = *std::prev(after);
  const auto index = static_cast<size_t>(std::prev(after) - contents_.tables.begin());
  const auto entry = static_cast<uint32_t>(chunk - table.first_chunk);
  const std::lock_guard lock(mutex_);
  SNAP_ASSIGN(const State state, check(index));
  SNAP_ASSIGN(const Pair pair, entries_at(index, state, entry));
  const auto offset_of = [&](uint32_t value, uint32_t at) {
    return table.base + (at < state.overflow ? value & kMostOffset : value);
  };
  ChunkPlace place;
  place.segment = table.segment;
  place.compressed = entry < state.overflow && (pair.entry & kCompressedBit) != 0;
  place.start = offset_of(pair.entry, entry);
  place.ends_at_next = entry + 1 < table.entries;
  place.end = !place.ends_at_next ? table.data_end : offset_of(pair.next, entry + 1);
  if (place.start >= table.data_start && place.start < place.end && place.end <= table.data_end) {
    return place;
  }
  return in_file(broken(fmt::format("chunk {} would be at bytes {} to {}, which is impossible",
                                    chunk, place.start, place.end)),
                 contents_.file_of(table.segment));
}

ChunkReader::ChunkReader(const Contents& contents, std::function<void(const std::string&)> warn)
    : contents_(contents),
      finder_(contents, std::move(warn)),
      chunk_bytes_(contents.volume->chunk_bytes()),
      size_(contents.volume->size()),
      kept_(std::clamp<size_t>(kMostKept / chunk_bytes_, 1, kMostChunksKept)) {}

uint64_t ChunkReader::length_of(uint64_t chunk) const {
  return std::min(chunk_bytes_, size_ - chunk * chunk_bytes_);
}

// The content, and its sum after it.
Result<void> ChunkReader::read_plain(const ChunkPlace& place, std::span<std::byte> out) {
  File& file = contents_.file_of(place.segment);
  const uint64_t there = place.end - place.start;
  if (there < out.size() + kSumBytes) {
    return broken(fmt::format("it has {} bytes, not {} and their Adler-32", there, out.size()));
  }
  SNAP_TRY(file.read_at(place.start, out));
  std::array<std::byte, kSumBytes> sum{};
  SNAP_TRY(file.read_at(place.start + out.size(), sum));
  if (load_le<uint32_t>(sum.data()) == adler32(out)) return {};
  return broken("its Adler-32 is wrong");
}

// How many bytes it has. Requires: `out` has room for a chunk.
Result<size_t> ChunkReader::unpack(const ChunkPlace& place, std::span<std::byte> out) {
  auto tool = tools_.take([] { return std::make_unique<Tool>(); });
  // A chunk does not grow so much; after the last one of a table there may be something else.
  const uint64_t most = 2 * chunk_bytes_ + 64 * kKiB;
  tool->packed.resize(std::min(place.end - place.start, most));
  SNAP_TRY(contents_.file_of(place.segment).read_at(place.start, tool->packed));
  return unpack_zlib(tool->inflater, tool->packed, out);
}

// What is stored of the last chunk: what the medium has of it, or more. Requires: that is less than
// a chunk.
Result<RawBytes> ChunkReader::read_last(const ChunkPlace& place, uint64_t of_medium) {
  RawBytes stored(chunk_bytes_ + kSumBytes);
  if (place.compressed) {
    stored.resize(chunk_bytes_);
    SNAP_ASSIGN(const size_t length, unpack(place, stored));
    if (length < of_medium)
      return broken(fmt::format("it has {} bytes, not {}", length, of_medium));
    stored.resize(length);
    return stored;
  }
  stored.resize(of_medium);
  if (of_medium > 0) {
    const auto exact = read_plain(place, stored);
    if (exact || exact.error().code() != ErrorCode::kCorruption) {
      return exact ? Result<RawBytes>(std::move(stored)) : exact.error();
    }
  }
  const uint64_t there = std::min(place.end - place.start, chunk_bytes_ + kSumBytes);
  if (there < of_medium + kSumBytes) return broken("it is too short");
  stored.resize(there);
  SNAP_TRY(contents_.file_of(place.segment).read_at(place.start, stored));
  if (!has_right_sum(stored)) return broken("its Adler-32 is wrong");
  stored.resize(there - kSumBytes);
  return stored;
}

Result<void> ChunkReader::read_at_place(const ChunkPlace& place, std::span<std::byte> out) {
  if (out.size() < chunk_bytes_) {
    SNAP_ASSIGN(const RawBytes stored, read_last(place, out.size()));
    std::memcpy(out.data(), stored.data(), out.size());
    return {};
  }
  if (!place.compressed) {
    if (place.ends_at_next && place.end - place.start > out.size() + kSumBytes) ++loose_chunks_;
    return read_plain(place, out);
  }
  SNAP_ASSIGN(const size_t length, unpack(place, out));
  if (length == out.size()) return {};
  return broken(fmt::format("it has {} bytes, not {}", length, out.size()));
}

Result<RawBytes> ChunkReader::read_rest() {
  const uint64_t needed = contents_.volume->needed_chunks();
  const uint64_t last = contents_.volume->chunks;
  if (last == 0) return RawBytes();
  const uint64_t of_medium = last > needed ? 0 : length_of(last - 1);
  if (of_medium == chunk_bytes_) return RawBytes();
  SNAP_ASSIGN(const ChunkPlace place, finder_.find(last - 1));
  SNAP_ASSIGN(const RawBytes stored, read_last(place, of_medium));
  RawBytes rest(stored.size() - of_medium);
  std::copy(stored.begin() + static_cast<ptrdiff_t>(of_medium), stored.end(), rest.begin());
  return rest;
}

Result<void> ChunkReader::read_whole(uint64_t chunk, std::span<std::byte> out) {
  SNAP_ASSIGN(const ChunkPlace place, finder_.find(chunk));
  auto read = read_at_place(place, out);
  if (read) return {};
  return in_file(
      std::move(read).error().with_context(fmt::format("chunk {} at byte {}", chunk, place.start)),
      contents_.file_of(place.segment));
}

std::shared_ptr<const Result<RawBytes>> ChunkReader::kept(uint64_t chunk) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& one) { return one.chunk == chunk; });
  return found == kept_.end() ? nullptr : found->content;
}

void ChunkReader::keep(uint64_t chunk, std::shared_ptr<const Result<RawBytes>> content) {
  const std::lock_guard lock(mutex_);
  kept_[next_kept_++ % kept_.size()] = {chunk, std::move(content)};
}

Result<void> ChunkReader::read(uint64_t chunk, uint64_t within, std::span<std::byte> out) {
  const uint64_t length = length_of(chunk);
  SNAP_CHECK(within <= length && out.size() <= length - within);
  if (out.size() == length) return read_whole(chunk, out);
  std::unique_lock<std::mutex> lock(large_mutex_, std::defer_lock);
  if (chunk_bytes_ > kLargeChunk) lock.lock();
  auto content = kept(chunk);
  if (content == nullptr) {
    Result<RawBytes> made{RawBytes(length)};
    auto read = read_whole(chunk, *made);
    if (!read) made = std::move(read).error();
    content = std::make_shared<const Result<RawBytes>>(std::move(made));
    keep(chunk, content);
  }
  if (!*content) return content->error();
  std::memcpy(out.data(), (*content)->data() + within, out.size());
  return {};
}

}  // namespace snaptool::ewf
