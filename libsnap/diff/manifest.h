// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <istream>
#include <map>
#include <string>
#include <vector>

#include "libsnap/base/hash.h"
#include "libsnap/base/result.h"

namespace snaptool {

// A list of sums. Of whole images it is what sha256sum and its like read and write: "SUM  NAME",
// or "SHA256 (NAME) = SUM" where there are several of each. Of blocks it is a text of its own:
//
//     # snaptool block manifest 1
//     # size 10485760
//     # block-size 1048576
//     # algorithms sha256 md5
//     0 SUM SUM
//     1048576 SUM SUM
//
// Lines end with a newline; further lines that begin with '#' are comments.
std::string manifest_line(HashAlgorithm algorithm, const std::string& sum, const std::string& name,
                          bool tagged);
std::string block_manifest_head(uint64_t size, uint64_t block_size,
                                const std::vector<HashAlgorithm>& algorithms,
                                const std::string& name);
std::string block_manifest_line(uint64_t offset, const std::vector<std::string>& sums);

// The sums of a whole image.
struct ImageSums {
  std::string name;  // empty: the manifest has only the sum
  std::vector<HashAlgorithm> algorithms;
  std::vector<std::string> sums;  // one each, in lower case
  bool operator==(const ImageSums&) const = default;
};

// Reads either kind, line by line: its memory does not grow with the number of blocks.
class ManifestReader {
 public:
  // Requires: `in` outlives this. Errors: kCorruption for what is no manifest, or one of an unknown
  // algorithm, or of too many images; kIo.
  static Result<ManifestReader> open(std::istream& in, std::string name);

  bool of_blocks() const { return block_size_ > 0; }
  // Of blocks:
  uint64_t size() const { return size_; }
  uint64_t block_size() const { return block_size_; }
  const std::vector<HashAlgorithm>& algorithms() const { return algorithms_; }
  // The sums of the next block; nullopt behind the last. Errors: kCorruption when a block is
  // missing, too many or no sum.
  Result<std::optional<std::vector<std::string>>> next_block();
  // Of whole images: each, in the manifest's order.
  const std::vector<ImageSums>& images() const { return images_; }

 private:
  ManifestReader(std::istream& in, std::string name) : in_(&in), name_(std::move(name)) {}
  Result<bool> read_line(std::string& line);
  Result<void> read_block_head();
  Result<void> read_sums(std::string line);
  Result<void> read_sum(std::string_view line);
  ImageSums& image(std::string name);
  Error damaged(std::string_view what) const;

  std::istream* in_;
  std::string name_;
  uint64_t line_ = 0;
  uint64_t size_ = 0;
  uint64_t block_size_ = 0;
  uint64_t next_ = 0;  // offset of the block that comes
  std::vector<HashAlgorithm> algorithms_;
  std::vector<ImageSums> images_;
  std::map<std::string, size_t> indexes_;  // of their names
};

}  // namespace snaptool
