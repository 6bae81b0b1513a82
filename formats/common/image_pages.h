// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>

#include "libsnap/base/io_bytes.h"
#include "libsnap/base/progress.h"
#include "libsnap/base/units.h"
#include "libsnap/io/image.h"

namespace snaptool {

// Small structures of an image, of which some pages are kept. One thread at a time.
class ImagePages {
 public:
  // Requires: both outlive it.
  ImagePages(Image& image, const Cancel& cancel, uint64_t page_bytes = 8 * kKiB)
      : image_(image), cancel_(cancel), page_bytes_(page_bytes) {}

  uint64_t size() const { return image_.size(); }
  // Errors: kInterrupted.
  Result<void> poll() const;
  // Errors: kCorruption where the image ends before; those of Image.
  Result<void> read(uint64_t offset, std::span<std::byte> out);       // for small pieces
  Result<void> read_data(uint64_t offset, std::span<std::byte> out);  // keeps nothing

 private:
  struct Page {
    uint64_t start = UINT64_MAX;
    RawBytes bytes;
  };

  Result<void> check_range(uint64_t offset, uint64_t length) const;
  Result<const Page*> page(uint64_t start);

  Image& image_;
  const Cancel& cancel_;
  const uint64_t page_bytes_;
  std::array<Page, 64> pages_;  // by the page's number
};

}  // namespace snaptool
