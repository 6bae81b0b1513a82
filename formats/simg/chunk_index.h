// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <mutex>
#include <optional>
#include <vector>

#include "formats/simg/layout.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/progress.h"
#include "libsnap/io/file.h"

namespace snaptool::simg {

// Where a chunk's header is in the file, and where its blocks begin in the image; bytes.
struct Place {
  uint64_t position = 0;
  uint64_t offset = 0;
};

struct Chunk {
  ChunkType type = ChunkType::kDontCare;
  Place place;
  uint64_t length = 0;  // of its blocks, bytes
  uint64_t data = 0;    // of kRaw: where they are in the file
  uint32_t value = 0;   // of kFill: what is repeated; of kCrc: the sum
  Place next;           // of the chunk behind it
};

// The file's header. Errors: as parse_header's, with the file's name.
Result<Header> read_header(File& file);

// Reads chunks' headers, some in advance where they lie close together. For one thread.
class ChunkReader {
 public:
  // Requires: the file outlives this.
  ChunkReader(File& file, const Header& header) : file_(file), header_(header) {}

  // All of the chunk is in the file, and its blocks within the image. Errors: kCorruption, with the
  // position; kIo.
  Result<Chunk> at(const Place& place);

 private:
  Result<std::span<const std::byte>> bytes(uint64_t position, size_t size);
  Error damaged(uint64_t position, std::string_view what) const;

  File& file_;
  Header header_;
  RawBytes buffer_;
  uint64_t start_ = 0;  // of the buffer, bytes of the file
};

// All chunks in their order.
class ChunkWalk {
 public:
  // Requires: the file outlives this.
  ChunkWalk(File& file, const Header& header)
      : file_(file), header_(header), reader_(file, header) {
    place_.position = header.header_bytes;
  }

  // nullopt: that were all. Errors: also kCorruption when there are other chunks than the header
  // says; kInterrupted.
  Result<std::optional<Chunk>> next(const Cancel& cancel);
  // Where the next one is.
  const Place& place() const { return place_; }

 private:
  File& file_;
  Header header_;
  ChunkReader reader_;
  Place place_;
  uint32_t seen_ = 0;
};

// Finds chunks. Memory does not grow with their number: every so-many-th is known. Several threads
// may find.
class ChunkIndex {
 public:
  // What a walk of all chunks finds.
  struct Totals {
    uint64_t end = 0;        // of the last chunk, bytes of the file
    uint64_t dont_care = 0;  // bytes of the image
    bool has_sum = false;    // a chunk has one, or the header
  };

  // Requires: the file outlives this.
  ChunkIndex(File& file, const Header& header) : file_(file), header_(header) {}

  // Walks all chunks; before any find. Errors: those of ChunkWalk.
  Result<Totals> build(const Cancel& cancel);
  // The chunk that has the byte. Requires: the image has it. Errors: as ChunkReader's.
  Result<Chunk> find(uint64_t offset);

 private:
  void keep(const Place& place);
  // A chunk that was found just now, if it is that; else the best place before it.
  std::optional<Chunk> look_up(uint64_t offset, Place& before);
  void remember(const Chunk& chunk);

  File& file_;
  Header header_;
  std::vector<Place> places_;  // ascending
  uint64_t step_ = 1;          // every step_-th chunk has a place
  uint64_t seen_ = 0;
  IdlePool<ChunkReader> readers_;
  std::mutex mutex_;  // guards what follows
  // Where threads were last: those who read on need not walk again.
  std::array<Chunk, 8> recent_{};
  size_t next_recent_ = 0;
};

}  // namespace snaptool::simg
