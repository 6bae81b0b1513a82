// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <mutex>

#include "formats/common/table_cache.h"
#include "formats/vmdk/extents.h"
#include "formats/vmdk/layout.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/idle_pool.h"

namespace snaptool::vmdk {

// A file with grains: a sparse extent, hosted or of ESX.
struct SparseFile {
  GrainMap grains;
  bool unclean = false;          // it was not closed
  uint64_t descriptor = 0;       // where it is, bytes
  uint64_t descriptor_size = 0;  // bytes, at most kMostDescriptor; 0: there is none
};

// Errors: kCorruption; kUnsupported; those of File. They name the file.
Result<SparseFile> read_sparse_file(File& file);

// The pages of tables of several files. Those of a few are kept.
class TablePool {
 public:
  // Requires: `file` outlives this.
  std::shared_ptr<TableCache> of(File& file);

 private:
  struct Slot {
    File* file = nullptr;
    uint64_t used = 0;
    std::shared_ptr<TableCache> tables;
  };
  std::mutex mutex_;           // guards what follows
  std::array<Slot, 8> slots_;  // a TableCache has up to 1 MiB
  uint64_t clock_ = 0;
};

// A compressed grain. Sizes and offsets are bytes.
struct PackedGrain {
  File* file = nullptr;
  uint64_t offset = 0;  // where it is in the file
  uint64_t sector = 0;  // of the extent, where it belongs
  uint64_t size = 0;    // when it is full
  uint64_t used = 0;    // of the extent; less in its last grain
  bool marker = false;  // GrainMap::markers
};

// Inflates grains. Of one that is read in pieces the content is kept.
class GrainInflater {
 public:
  // The bytes from `within` on. Requires: they lie within those that are used. Errors: kCorruption;
  // those of File.
  Result<void> read(const PackedGrain& grain, uint64_t within, std::span<std::byte> out);

 private:
  struct Tool {
    Inflater inflater;
    RawBytes packed;
  };

  Result<void> inflate(const PackedGrain& grain, std::span<std::byte> content);

  IdlePool<Tool> tools_;
  std::mutex mutex_;                        // guards what follows
  std::shared_ptr<const RawBytes> recent_;  // a grain's content
  const File* recent_file_ = nullptr;
  uint64_t recent_offset_ = 0;  // as PackedGrain has them
  uint64_t recent_sector_ = 0;
};

// What the sparse extents of an image share.
struct GrainTools {
  TablePool tables;
  GrainInflater inflater;
};

// What the grains of a file do not hold is the parent's. Requires: `grains` are those of the file,
// their capacity is at least what is read of it.
std::unique_ptr<ExtentImage::Part> make_grain_part(std::shared_ptr<File> file,
                                                   const GrainMap& grains,
                                                   std::shared_ptr<GrainTools> tools);

}  // namespace snaptool::vmdk
