// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsnap/base/content_id.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/result.h"
#include "libsnap/base/sha256.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Changes of an image as a stream: what the snapdiff format and Ceph's have in common. The image is
// cut into windows; what changes in one is a record.

inline constexpr uint64_t kWindowBytes = ContentSum::kWindowBytes;
// A stream's images are at most so large, so that sums of offsets do not overflow.
inline constexpr uint64_t kMostImageBytes = INT64_MAX;

enum class ChangeKind : uint32_t {
  kData = 0,     // bytes
  kZero = 1,     // reads as zeros
  kDiscard = 2,  // reads as zeros, and needs no space
};

struct ChangeExtent {
  uint32_t offset = 0;  // bytes from the window's start
  uint32_t length = 0;  // bytes, at least 1
  ChangeKind kind = ChangeKind::kData;
  uint32_t end() const { return offset + length; }
  bool operator==(const ChangeExtent&) const = default;
};

// Adds an extent to such as lie before it; one of its kind that ends where it begins is made
// longer.
inline void append(std::vector<ChangeExtent>& extents, const ChangeExtent& next) {
  if (!extents.empty() && extents.back().end() == next.offset && extents.back().kind == next.kind) {
    extents.back().length += next.length;
  } else {
    extents.push_back(next);
  }
}

// What changes in one window; or in several, one behind the other, that are discarded whole.
struct ChangeRecord {
  uint64_t window = 0;
  uint64_t windows = 1;               // if more, the one extent is a discard of a whole window
  std::vector<ChangeExtent> extents;  // ascending, not overlapping
  uint32_t data_length = 0;           // of all data extents
  bool compressed = false;            // the payload is a zstd frame, else the data themselves
  RawBytes payload;
  std::optional<Sha256::Digest> old_sum;  // of the base's bytes in all extents, if known
  std::optional<Sha256::Digest> new_sum;  // of the data
  uint64_t position = 0;                  // where it is in its stream, bytes
  uint64_t start() const { return window * kWindowBytes; }
};

// What the base must have in some places, whether they change or not.
struct Expectation {
  uint64_t window = 0;
  std::vector<ChangeExtent> extents;
  Sha256::Digest sum{};  // of their bytes, one behind the other
  // Where in the image it begins, in bytes.
  uint64_t position() const { return window * kWindowBytes + extents.front().offset; }
  // Whether it is about any of these bytes.
  bool overlaps(uint64_t offset, uint64_t length) const;
};
inline constexpr size_t kMostExpectations = 64;

// What a stream says of itself before its records.
struct ChangeHeader {
  bool full = false;     // there is no base: what is not written is zeros
  bool reverse = false;  // from a snapshot's view back to its origin
  bool inherited_id = false;
  bool identities = false;            // the end has a place for the images' identities
  std::optional<uint64_t> base_size;  // bytes; nothing where the format does not say
  uint64_t target_size = 0;           // bytes
  std::optional<Sha256::Digest> parent_id;
  std::vector<Expectation> expectations;  // windows ascend
  std::string maker;
  std::string from_name;  // Ceph's names of snapshots
  std::string to_name;
};

struct ChangeTotals {
  uint64_t records = 0;
  uint64_t data_bytes = 0;
  uint64_t zero_bytes = 0;
  uint64_t discard_bytes = 0;
  void add(const ChangeRecord& record);
  uint64_t bytes() const { return data_bytes + zero_bytes + discard_bytes; }
  bool operator==(const ChangeTotals&) const = default;
};

// What it says behind them.
struct ChangeEnd {
  ChangeTotals totals;
  uint64_t length = 0;                     // of the stream, bytes
  std::optional<Sha256::Digest> child_id;  // nothing where the format has no ids
  std::optional<Sha256::Digest> base_sum;  // of the whole images, if they were read
  std::optional<Sha256::Digest> target_sum;
  std::optional<ContentId> base_content;  // the same
  std::optional<ContentId> target_content;
};

// Where the bytes of a stream go. Errors: the receiver's.
using ByteSink = std::function<Result<void>(std::span<const std::byte>)>;
// Where they come from: fills the beginning of the span, and returns how much; 0 at the end.
using ByteSource = std::function<Result<size_t>(std::span<std::byte>)>;

// Reads a source ahead, and knows where it is.
class StreamInput {
 public:
  explicit StreamInput(ByteSource source) : source_(std::move(source)) {}

  // Fills `out`; false when the source ends before. Errors: the source's.
  Result<bool> read(std::span<std::byte> out);
  Result<bool> at_end();
  uint64_t position() const { return position_; }  // of the next byte

 private:
  static constexpr size_t kBufferBytes = size_t{256} * 1024;

  ByteSource source_;
  PageBuffer buffer_ = make_page_buffer(kBufferBytes);
  size_t at_ = 0;
  size_t end_ = 0;
  uint64_t position_ = 0;
};

// Writes a stream, one call after the other.
class ChangeWriter {
 public:
  virtual ~ChangeWriter() = default;
  virtual Result<void> begin(const ChangeHeader& header) = 0;
  // Makes the payload of a record from its data: compresses them, say. May be called from several
  // threads. Requires: the record has all else, but for the sum of the data.
  virtual void prepare(ChangeRecord& record, std::span<const std::byte> data) = 0;
  // Requires: windows ascend. Errors: the sink's.
  virtual Result<void> add(ChangeRecord& record) = 0;
  // What a record may hold at most.
  virtual size_t most_extents() const { return SIZE_MAX; }
  // Whether one may be of several windows.
  virtual bool takes_runs() const { return true; }
  // Ends the stream; fills in what the stream knows of itself.
  virtual Result<void> finish(ChangeEnd& end) = 0;
};

// Reads a stream, front to back. Nothing in it is trusted; memory does not grow with it.
class ChangeReader {
 public:
  virtual ~ChangeReader() = default;
  virtual const ChangeHeader& header() const = 0;
  // The next record; false at the end, once the stream was found whole.
  // Errors: kCorruption, with the position; kUnsupported; the source's.
  virtual Result<bool> next(ChangeRecord& record) = 0;
  // Requires: next returned false.
  virtual const ChangeEnd& end() const = 0;
};

// The data of a record, checked against its sum. `out` has room for a window; returns the part in
// use. May be called from several threads. Errors: kCorruption, with the position.
class ZstdDecompressor;
Result<std::span<std::byte>> record_data(const ChangeRecord& record, ZstdDecompressor& zstd,
                                         std::span<std::byte> out);

// Which of the expectations an image does not meet. Errors: those of Image.
Result<std::vector<size_t>> unmet_expectations(std::span<const Expectation> expectations,
                                               Image& image);

}  // namespace snaptool
