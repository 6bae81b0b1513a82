// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>

#include "libsnap/io/image.h"

namespace snaptool {

// What an Image shows, as a File, for what is made of Files to work on it: a merge into a view, a
// partition of a view, the disk in a qcow2. (The other way round it is a RawImage.) Its flush makes
// everything durable that the Image wrote to. Several threads may use it at once; they take turns,
// unless it is only read.
class ContentFile : public File {
 public:
  // Requires: `image` outlives this, and nobody else uses it meanwhile.
  explicit ContentFile(Image& image, Access access) : image_(image), access_(access) {}
  // The same, only read, which keeps the image.
  explicit ContentFile(std::unique_ptr<Image> image)
      : owned_(std::move(image)), image_(*owned_), access_(Access::kRead) {}

  const std::string& name() const override { return image_.name(); }
  uint64_t size() const override { return image_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  // Always kUnsupported.
  Result<void> resize(uint64_t size) override;
  Result<void> flush() override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;
  void will_need(uint64_t offset, uint64_t length) override;
  void start_writeback(uint64_t offset, uint64_t length) override;
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out) override;

 private:
  Result<void> check_within(uint64_t offset, uint64_t length) const;
  std::unique_lock<std::mutex> turn();

  std::unique_ptr<Image> owned_;
  Image& image_;
  Access access_;
  std::mutex mutex_;
};

}  // namespace snaptool
