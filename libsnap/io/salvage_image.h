// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <vector>

#include "libsnap/io/image.h"

namespace snaptool {

// An image of which what cannot be read is zeros. Several threads may read at once.
class SalvageImage : public Image {
 public:
  // Requires: `image` outlives this.
  explicit SalvageImage(Image& image) : image_(image) {}

  const std::string& name() const override { return image_.name(); }
  uint64_t size() const override { return image_.size(); }
  // Never fails.
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

  // What could not be read so far: sectors, lowest first. No more than kMostRanges are kept.
  std::vector<ByteRange> unreadable() const;
  uint64_t unreadable_bytes() const;

  static constexpr size_t kMostRanges = 1000;

 private:
  void add(uint64_t offset, uint64_t length);
  void join_next(ByteRange& range);

  Image& image_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<ByteRange> ranges_;
  uint64_t bytes_ = 0;
};

}  // namespace snaptool
