// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/change_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/zstd.h"

namespace snaptool {

void ChangeTotals::add(const ChangeRecord& record) {
  records += record.windows;
  for (const ChangeExtent& extent : record.extents) {
    uint64_t& sum = extent.kind == ChangeKind::kData   ? data_bytes
                    : extent.kind == ChangeKind::kZero ? zero_bytes
                                                       : discard_bytes;
    sum += record.windows * extent.length;
  }
}

Result<bool> StreamInput::at_end() {
  if (at_ == end_) {
    SNAP_ASSIGN(end_, source_({buffer_.get(), kBufferBytes}));
    at_ = 0;
  }
  return at_ == end_;
}

Result<bool> StreamInput::read(std::span<std::byte> out) {
  while (!out.empty()) {
    SNAP_ASSIGN(const bool ended, at_end());
    if (ended) return false;
    const size_t size = std::min(out.size(), end_ - at_);
    std::memcpy(out.data(), buffer_.get() + at_, size);
    at_ += size;
    position_ += size;
    out = out.subspan(size);
  }
  return true;
}

Result<std::span<std::byte>> record_data(const ChangeRecord& record, ZstdDecompressor& zstd,
                                         std::span<std::byte> out) {
  const auto data = out.first(record.data_length);
  if (record.compressed) {
    if (auto done = zstd.decompress(record.payload, data); !done) {
      return std::move(done).error().with_context(
          fmt::format("record at byte {}", record.position));
    }
  } else {
    std::copy(record.payload.begin(), record.payload.end(), data.begin());
  }
  if (record.new_sum && Sha256::of(data) != *record.new_sum) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("record at byte {}: the data do not have the sum that it gives",
                             record.position));
  }
  return data;
}

bool Expectation::overlaps(uint64_t offset, uint64_t length) const {
  return std::any_of(extents.begin(), extents.end(), [&](const ChangeExtent& extent) {
    const uint64_t start = window * kWindowBytes + extent.offset;
    return offset < start + extent.length && start < offset + length;
  });
}

Result<std::vector<size_t>> unmet_expectations(std::span<const Expectation> expectations,
                                               Image& image) {
  std::vector<size_t> unmet;
  RawBytes buffer(kWindowBytes);
  for (size_t i = 0; i < expectations.size(); ++i) {
    const Expectation& expectation = expectations[i];
    const uint64_t start = expectation.window * kWindowBytes;
    Sha256 sum;
    for (const ChangeExtent& extent : expectation.extents) {
      if (start + extent.end() > image.size()) break;  // then the sum is another
      const auto piece = std::span(buffer).first(extent.length);
      SNAP_TRY(image.read_at(start + extent.offset, piece));
      sum.update(piece);
    }
    if (sum.finish_digest() != expectation.sum) unmet.push_back(i);
  }
  return unmet;
}

}  // namespace snaptool
