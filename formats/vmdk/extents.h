// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "formats/common/mapped_image.h"
#include "formats/vmdk/descriptor.h"

namespace snaptool::vmdk {

// An image of extents, one behind the other.
class ExtentImage : public MappedImage {
 public:
  using MappedImage::Run;

  // A stretch of the image. Offsets are bytes of the extent. Several threads may call at once.
  class Part {
   public:
    virtual ~Part() = default;
    Part() = default;
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

    // As MappedImage's.
    virtual Result<Run> run_at(uint64_t offset, uint64_t limit) = 0;
    virtual Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out);
  };
  struct Piece {
    uint64_t size = 0;  // bytes, at least 1
    std::unique_ptr<Part> part;
  };

  // `file` is the one that was named. The size is that of all pieces.
  ExtentImage(std::shared_ptr<File> file, std::vector<Piece> pieces, std::shared_ptr<Image> parent);

 private:
  struct Placed {
    uint64_t start = 0;  // of the image, bytes
    uint64_t end = 0;
    std::unique_ptr<Part> part;
  };

  const Placed& placed_at(uint64_t offset) const;
  Result<Run> run_at(uint64_t offset, uint64_t limit) override;
  Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out) override;

  std::vector<Placed> placed_;
};

// The bytes of a file from `start` on.
std::unique_ptr<ExtentImage::Part> make_flat_part(std::shared_ptr<File> file, uint64_t start);
std::unique_ptr<ExtentImage::Part> make_zero_part();
// What may not be read (NOACCESS): that is an error. `name`: of the image.
std::unique_ptr<ExtentImage::Part> make_closed_part(const std::string& name);

// The same error, of a file.
Error in_file(Error error, const File& file);

}  // namespace snaptool::vmdk
