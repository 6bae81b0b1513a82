// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "libsnap/base/content_id.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/progress.h"
#include "libsnap/base/sha256.h"
#include "libsnap/io/image.h"

namespace snaptool {

// The sums of a range of an image, one for each algorithm, in hex; read once, ahead of the
// hashing, from job.jobs threads: the algorithm that is furthest behind goes first. Requires: the
// range lies within the image.
// Errors: those of Image; kInterrupted.
Result<std::vector<std::string>> hash_range(Image& image, uint64_t offset, uint64_t length,
                                            const std::vector<HashAlgorithm>& algorithms,
                                            const Job& job);

// The identity of a whole image, from job.jobs threads; holes are not read. Errors: those of Image;
// kInterrupted.
Result<ContentId> content_id_of(Image& image, const Job& job);
// Its SHA-256. Errors: those of Image; kInterrupted.
Result<Sha256::Digest> sha256_of(Image& image, const Job& job);

// A block and its sums, one for each algorithm.
struct BlockHash {
  uint64_t offset = 0;  // bytes
  uint64_t length = 0;  // bytes; the last block may be shorter
  std::vector<std::string> sums;
};

// The sums of all blocks of `block_size` bytes, in order, from job.jobs threads; a block that is a
// hole is not read. Memory does not grow with the image or the blocks. Requires: block_size > 0.
// Errors: those of Image and of the visitor; kInterrupted.
Result<void> hash_blocks(Image& image, uint64_t block_size,
                         const std::vector<HashAlgorithm>& algorithms,
                         const std::function<Result<void>(const BlockHash&)>& visit,
                         const Job& job);

// What a range looks like: its SHA-256, and how its bytes are spread.
struct RangeStatistics {
  std::string sha256;
  double entropy = 0;  // bits a byte, 0 to 8 (Shannon's, of single bytes)
  bool zeros = true;   // there is nothing but zeros
};
// Errors: those of Image; kInterrupted.
Result<RangeStatistics> examine_range(Image& image, uint64_t offset, uint64_t length,
                                      const Job& job);

}  // namespace snaptool
