// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "formats/ntfs/volume.h"

namespace snaptool::ntfs {

// A file's attributes, put together from its records, and what is in them.

// Where a part of an attribute is described.
struct Part {
  uint64_t record = 0;
  size_t offset = 0;   // in the record
  uint64_t first = 0;  // clusters of the stream
  uint64_t end = 0;
};

struct Stream {
  uint32_t type = 0;
  std::string name;  // UTF-16LE
  bool is_resident = true;
  uint16_t flags = 0;
  unsigned unit_bits = 0;
  uint64_t size = 0;
  uint64_t initialized = 0;
  std::vector<Part> parts;

  // Of a folder's index, the flag says what new files will be.
  bool is_compressed() const {
    return type == kData && !is_resident && (flags & kIsCompressed) != 0;
  }
};

struct File {
  uint64_t id = 0;
  uint16_t sequence = 0;
  bool is_used = false;
  bool is_folder = false;
  std::vector<Stream> streams;  // by type, then name, then where they were found

  // The first of them; nullptr: none.
  const Stream* find(uint32_t type, Bytes name = {}) const;
};

// Errors: kNotFound for what is no base record; kCorruption; those of Image.
Result<std::shared_ptr<const File>> load_file(Volume& volume, uint64_t id);

// What a part of a stream is, in the order of the stream.
struct Segment {
  enum class Kind { kPlace, kZeros, kPacked, kWithin };
  Kind kind = Kind::kZeros;
  uint64_t offset = 0;  // in the stream, bytes
  uint64_t length = 0;
  uint64_t place = 0;            // in the image, bytes
  uint64_t unit = 0;             // if packed: the unit's offset in the stream
  std::vector<Run> packed = {};  // and what it is packed in
};
using VisitSegment = std::function<Result<bool>(const Segment&)>;

// All of a stream up to its size, without gaps; visit says whether to go on. Segments before `from`
// may be left out. Errors: kCorruption, kUnsupported; those of visit and of Image.
Result<void> visit_segments(Volume& volume, const Stream& stream, uint64_t from,
                            const VisitSegment& visit);

// The clusters that a stream has, past its size too; none of a resident one. Errors: the same.
Result<void> visit_clusters(Volume& volume, const Stream& stream,
                            const std::function<Result<bool>(const Run&)>& visit);

// Reads streams; keeps the unit that was unpacked last.
class StreamReader {
 public:
  explicit StreamReader(Volume& volume) : volume_(volume) {}
  // Requires: offset + out.size() <= stream.size. Errors: as visit_segments.
  Result<void> read(const Stream& stream, uint64_t offset, std::span<std::byte> out);
  // All of a small one. Errors: also kCorruption where it is larger than `most`.
  Result<std::vector<std::byte>> read_all(const Stream& stream, size_t most);

 private:
  Result<void> read_packed(const Stream& stream, const Segment& segment, uint64_t offset,
                           std::span<std::byte> out);

  Volume& volume_;
  std::vector<std::byte> unit_;
  std::vector<Run> unit_of_;  // where it was packed
};

// Bits of a stream, of which some are kept.
class BitReader {
 public:
  // Requires: both outlive it.
  BitReader(StreamReader& reader, const Stream& stream) : reader_(reader), stream_(stream) {}
  // Past its end they are 0. Errors: as StreamReader::read.
  Result<bool> at(uint64_t index);

 private:
  static constexpr uint64_t kWindow = 4 * kKiB;
  StreamReader& reader_;
  const Stream& stream_;
  uint64_t start_ = UINT64_MAX;
  std::vector<std::byte> window_;
};

// The value of a resident one. Requires: it is. Errors: those of Volume::record.
Result<std::vector<std::byte>> value_of(Volume& volume, const Stream& stream);

}  // namespace snaptool::ntfs
