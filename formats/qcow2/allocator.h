// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/io/file.h"

namespace snaptool::qcow2 {

// Gives out the clusters of a new image, in order, and writes their refcounts (of 16 bits) as it
// goes, so that memory does not grow with the image. Cluster 0 is the header's, and given out.
class Allocator {
 public:
  // Requires: `file` outlives this.
  Allocator(File& file, unsigned cluster_bits);

  // So many clusters in a row. Returns where they are, in bytes. Errors: kNoSpace; those of File.
  Result<uint64_t> take_clusters(uint64_t count);
  // So many bytes for compressed data, at most a cluster, anywhere. Errors: as above.
  Result<uint64_t> take_bytes(uint64_t length);

  // Where the refcounts are, for the header.
  struct Table {
    uint64_t offset = 0;  // bytes
    uint32_t clusters = 0;
  };
  // The last call: writes what is left of the refcounts, and cuts the file to its clusters.
  Result<Table> finish();

 private:
  uint64_t cluster_size() const { return uint64_t{1} << cluster_bits_; }
  // Refcounts in a block.
  uint64_t block_entries() const { return cluster_size() / 2; }

  Result<void> grow(uint64_t clusters);
  void count_new(uint64_t first, uint64_t count);
  Result<void> write_full_blocks();

  File& file_;
  unsigned cluster_bits_;
  uint64_t next_ = 0;             // the first cluster that is not given out
  uint64_t bytes_next_ = 0;       // where compressed data go on, in bytes
  uint64_t bytes_end_ = 0;        // the end of the clusters that are for them
  uint64_t first_counted_ = 0;    // the cluster of counts_[0]: where a block begins
  std::vector<uint16_t> counts_;  // of clusters whose block is not written yet
  std::vector<uint64_t> blocks_;  // where those are that are written
};

}  // namespace snaptool::qcow2
