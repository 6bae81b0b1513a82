// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <mutex>

#include "formats/ewf/contents.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::ewf {

// Where a chunk is in its file, bytes.
struct ChunkPlace {
  uint32_t segment = 0;
  bool compressed = false;
  bool ends_at_next = false;  // another chunk of its table begins where it ends
  uint64_t start = 0;
  uint64_t end = 0;
};

// Finds chunks by the tables, each of which is checked when it is used first. Memory does not grow
// with the number of chunks. Several threads may find.
class ChunkFinder {
 public:
  // `warn` may be none. Requires: the contents outlive this.
  ChunkFinder(const Contents& contents, std::function<void(const std::string&)> warn)
      : contents_(contents), warn_(std::move(warn)), states_(contents.tables.size()) {}

  // Errors: kCorruption for a chunk that no table has, a table that is damaged as its copy is, and
  // an impossible place; kIo.
  Result<ChunkPlace> find(uint64_t chunk);

 private:
  // What is known of a table.
  struct State {
    enum class Use : uint8_t { kUnknown, kTable, kCopy, kNone };
    Use use = Use::kUnknown;
    uint32_t overflow = UINT32_MAX;  // entries from this one on have 32 bits of offset
  };
  // Some entries of a table.
  struct Window {
    size_t table = SIZE_MAX;
    uint32_t first = 0;
    std::vector<uint32_t> entries;
  };
  // An entry, and the one after it unless it is the last.
  struct Pair {
    uint32_t entry = 0;
    uint32_t next = 0;
  };

  Result<State> check(size_t index);
  Result<State> decide(const Table& table);
  Result<Pair> entries_at(size_t index, const State& state, uint32_t entry);
  void warn(const std::string& text) const;

  const Contents& contents_;
  std::function<void(const std::string&)> warn_;
  std::mutex mutex_;  // guards what follows
  std::vector<State> states_;
  std::array<Window, 16> windows_;
};

// Reads chunks. What is read has the Adler-32 that is stored. Of a chunk that is read in pieces
// the content is kept, and of one that is damaged the error. Several threads may read.
class ChunkReader {
 public:
  // `warn` may be none. Requires: the contents outlive this, and have a volume.
  ChunkReader(const Contents& contents, std::function<void(const std::string&)> warn);

  uint64_t chunk_bytes() const { return chunk_bytes_; }
  // Bytes of the image that the chunk has.
  uint64_t length_of(uint64_t chunk) const;
  // The bytes from `within` on. Requires: they lie within the chunk. Errors: kCorruption; kIo.
  Result<void> read(uint64_t chunk, uint64_t within, std::span<std::byte> out);
  // How many chunks that are stored as they are had more bytes in the file than they need, so far.
  uint64_t loose_chunks() const { return loose_chunks_; }
  // What is stored after the medium's end. Errors: as read's.
  Result<RawBytes> read_rest();

 private:
  struct Tool {
    Inflater inflater;
    RawBytes packed;
  };
  struct Kept {
    uint64_t chunk = UINT64_MAX;
    std::shared_ptr<const Result<RawBytes>> content;
  };

  Result<void> read_whole(uint64_t chunk, std::span<std::byte> out);
  Result<void> read_plain(const ChunkPlace& place, std::span<std::byte> out);
  Result<size_t> unpack(const ChunkPlace& place, std::span<std::byte> out);
  Result<RawBytes> read_last(const ChunkPlace& place, uint64_t of_medium);
  Result<void> read_at_place(const ChunkPlace& place, std::span<std::byte> out);
  std::shared_ptr<const Result<RawBytes>> kept(uint64_t chunk);
  void keep(uint64_t chunk, std::shared_ptr<const Result<RawBytes>> content);

  const Contents& contents_;
  ChunkFinder finder_;
  uint64_t chunk_bytes_;
  uint64_t size_;  // of the image
  IdlePool<Tool> tools_;
  std::atomic<uint64_t> loose_chunks_ = 0;
  std::mutex large_mutex_;  // of large chunks one is kept in memory at a time
  std::mutex mutex_;        // guards what follows
  std::vector<Kept> kept_;
  size_t next_kept_ = 0;
};

}  // namespace snaptool::ewf
