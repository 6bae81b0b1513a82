// SPDX-License-Identifier: Apache-2.0
#include "formats/common/image_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/damage.h"
#include "libsnap/base/arithmetic.h"

namespace snaptool {

Result<void> ImagePages::poll() const {
  if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
  return {};
}

Result<void> ImagePages::check_range(uint64_t offset, uint64_t length) const {
  if (offset <= image_.size() && length <= image_.size() - offset) return {};
  return damaged(fmt::format("the image ends before byte {}", offset + length));
}

Result<void> ImagePages::read_data(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_range(offset, out.size()));
  return image_.read_at(offset, out);
}

Result<const ImagePages::Page*> ImagePages::page(uint64_t start) {
  Page& page = pages_[start / page_bytes_ % pages_.size()];
  if (page.start == start) return &page;
  page.start = UINT64_MAX;
  page.bytes.resize(std::min(page_bytes_, image_.size() - start));
  SNAP_TRY(image_.read_at(start, page.bytes));
  page.start = start;
  return &page;
}

Result<void> ImagePages::read(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_range(offset, out.size()));
  while (!out.empty()) {
    const uint64_t start = round_down(offset, page_bytes_);
    SNAP_ASSIGN(const Page* const from, page(start));
    const size_t length = std::min<size_t>(out.size(), from->bytes.size() - (offset - start));
    std::memcpy(out.data(), from->bytes.data() + (offset - start), length);
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

}  // namespace snaptool
