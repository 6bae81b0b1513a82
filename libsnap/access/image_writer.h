// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/io_bytes.h"
#include "libsnap/base/result.h"
#include "libsnap/base/units.h"

namespace snaptool {
class File;
}

namespace snaptool::access {

// What becomes of a unit of the image.
enum class UnitKind : uint8_t {
  kAbsent,  // nothing is said of it: as in the base, or zeros where there is none
  kZero,
  kData,
};

// A piece of an image on its way into a writer: whole units, but at the image's end.
struct WritePiece {
  uint64_t offset = 0;        // bytes of the image; a multiple of the writer's piece size
  uint64_t length = 0;        // bytes
  std::span<std::byte> data;  // as long; in memory, zeros go on to the end of the last unit
  std::vector<UnitKind> units;
  std::vector<bool> marks;  // of each mark_size() bytes: whether they are not as in the base

  // The writer's own: what is written, and where in the file.
  struct Extent {
    uint64_t file_offset = 0;
    std::span<const std::byte> bytes;
  };
  std::vector<Extent> extents;
  // One more; what continues the last one in the file and in memory becomes a part of it.
  void add_extent(uint64_t file_offset, std::span<const std::byte> bytes) {
    if (!extents.empty()) {
      Extent& last = extents.back();
      if (last.file_offset + last.bytes.size() == file_offset &&
          last.bytes.data() + last.bytes.size() == bytes.data()) {
        last.bytes = {last.bytes.data(), last.bytes.size() + bytes.size()};
        return;
      }
    }
    extents.push_back({file_offset, bytes});
  }
  RawBytes packed;            // compressed units, one behind the other
  std::vector<size_t> sizes;  // of each unit in `packed`; 0: it is stored as it is
};

struct ImageSum {
  std::string_view algorithm;  // "md5"
  std::string value;
};

// Makes an image of some format. Pieces ascend and do not overlap; what comes between them is
// absent. `prepare` and `write` may run for several pieces at once, `place` runs for one at a time,
// in their order; each piece goes through the three of them.
class ImageWriter {
 public:
  virtual ~ImageWriter() = default;
  ImageWriter() = default;
  ImageWriter(const ImageWriter&) = delete;
  ImageWriter& operator=(const ImageWriter&) = delete;

  // The first call. Nothing is written to the file before.
  virtual Result<void> begin() { return {}; }

  // Bytes that are told apart.
  virtual uint64_t unit_size() const = 0;
  // Of a piece: a multiple of the unit.
  virtual uint64_t piece_size() const = 0;

  // Over a base: bytes of which the writer wants to know whether they were changed, a power of 2;
  // 0: none.
  virtual uint64_t mark_size() const { return 0; }

  virtual Result<void> prepare(WritePiece& /*piece*/) { return {}; }
  virtual Result<void> place(WritePiece& piece) = 0;
  virtual Result<void> write(WritePiece& piece) = 0;
  // Whether long stretches of zeros must be told of, since the target has something else there.
  virtual bool needs_zeros() const { return false; }
  // They are, in order with the pieces but from any thread. Requires: needs_zeros().
  virtual Result<void> add_zeros(uint64_t /*offset*/, uint64_t /*length*/) { return {}; }
  // The last call. The image is not one before, nor durable before its file is flushed. Errors of
  // all: those of File.
  virtual Result<void> finish() = 0;
  // After it: sums of the whole image that it now carries, in hex.
  virtual std::vector<ImageSum> sums() const { return {}; }
};

// Before an image is made of a file that may hold another: makes its first and last sectors
// zeros, durably. No format knows an image by what is elsewhere, so that what an interrupted run
// leaves is none. Errors:
// those of File.
Result<void> forget_old_image(File& file);

}  // namespace snaptool::access
