// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/untouched.h"

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

constexpr uint64_t kBlocks = 64;
constexpr uint64_t kBlockBytes = 4096;

}  // namespace

UntouchedBlocks::UntouchedBlocks(uint64_t size) {
  const uint64_t step = std::max(round_down(size / kBlocks, kBlockBytes), kBlockBytes);
  for (uint64_t at = 0; at < size && blocks_.size() < kBlocks; at += step) {
    blocks_.push_back({at, std::min(kBlockBytes, size - at), false});
  }
}

void UntouchedBlocks::touch(uint64_t offset, uint64_t length) {
  while (next_ < blocks_.size() && blocks_[next_].offset + blocks_[next_].length <= offset) ++next_;
  for (size_t i = next_; i < blocks_.size() && blocks_[i].offset < offset + length; ++i) {
    blocks_[i].touched = true;
  }
}

Result<Sha256::Digest> UntouchedBlocks::sum(Image& image) const {
  Sha256 sum;
  std::vector<std::byte> bytes;
  for (const Block& block : blocks_) {
    if (block.touched) continue;
    bytes.resize(8 + block.length);
    store_le(bytes.data(), block.offset);
    SNAP_TRY(image.read_at(block.offset, std::span(bytes).subspan(8)));
    sum.update(bytes);
  }
  return sum.finish_digest();
}

}  // namespace snaptool
