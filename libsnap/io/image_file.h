// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

#include "libsnap/io/image.h"

namespace snaptool {

// An Image as a File, for what is made of Files to work on it: a merge into a view, a partition of
// a view. Its flush makes everything durable that the Image wrote to. Several threads may use it at
// once; they take turns, unless it is only read.
class ImageFile : public File {
 public:
  // Requires: `image` outlives this, and nobody else uses it meanwhile.
  explicit ImageFile(Image& image, bool only_read = false) : image_(image), only_read_(only_read) {}

  const std::string& name() const override { return image_.name(); }
  uint64_t size() const override { return image_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  // Always kUnsupported.
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override;
  Result<FileExtent> extent_at(uint64_t offset, uint64_t limit) override;

 private:
  std::unique_lock<std::mutex> turn();

  Image& image_;
  bool only_read_;
  std::mutex mutex_;
};

}  // namespace snaptool
