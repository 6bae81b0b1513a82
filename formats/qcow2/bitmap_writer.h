// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/qcow2/allocator.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::qcow2 {

// The image's bytes that a bit of a bitmap stands for: powers of 2 of so many bits.
inline constexpr unsigned kLeastGranularityBits = 9;
inline constexpr unsigned kMostGranularityBits = 31;

// Writes a persistent bitmap of what was changed, a cluster of bits at a time.
class BitmapWriter {
 public:
  // Requires: `file` and `allocator` outlive this. Errors: kUnsupported when the image has more
  // bits than QEMU reads.
  static Result<std::unique_ptr<BitmapWriter>> create(File& file, Allocator& allocator,
                                                      unsigned cluster_bits, std::string name,
                                                      unsigned granularity_bits,
                                                      uint64_t image_size);

  uint64_t granularity() const { return uint64_t{1} << granularity_bits_; }
  // The bit of these bytes of the image. Requires: bits ascend. Errors: as Allocator's, and File's.
  Result<void> set(uint64_t offset);

  // The directory, with this bitmap alone.
  struct Directory {
    uint64_t offset = 0;  // bytes of the file
    uint64_t size = 0;    // bytes
  };
  // The last call.
  Result<Directory> finish();

 private:
  BitmapWriter(File& file, Allocator& allocator, unsigned cluster_bits, std::string name,
               unsigned granularity_bits, uint64_t clusters)
      : file_(file),
        allocator_(allocator),
        cluster_size_(size_t{1} << cluster_bits),
        name_(std::move(name)),
        granularity_bits_(granularity_bits),
        bits_(cluster_size_),
        table_(clusters) {}
  Result<void> end_cluster();
  // Whole clusters, zeros at their end.
  Result<uint64_t> write_clusters(std::span<const std::byte> bytes);

  File& file_;
  Allocator& allocator_;
  size_t cluster_size_;
  std::string name_;
  unsigned granularity_bits_;
  IoBytes bits_;                     // of the cluster that is being filled
  std::optional<uint64_t> current_;  // its place in the table
  std::vector<uint64_t> table_;
};

}  // namespace snaptool::qcow2
