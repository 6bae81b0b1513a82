// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/medium_sums.h"

#include <algorithm>
#include <numeric>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/parallel.h"

namespace snaptool {
namespace {

// A disk reads so much in the time that another read would take.
constexpr uint64_t kGap = 64 * kKiB;

class MediumSums {
 public:
  MediumSums(File& file, std::span<const ByteRange> places)
      : file_(file),
        places_(places),
        order_(places.size()),
        sums_(places.size()),
        buffers_(kIoPiece) {
    std::iota(order_.begin(), order_.end(), 0U);
    std::sort(order_.begin(), order_.end(),
              [&](uint32_t a, uint32_t b) { return places_[a].offset < places_[b].offset; });
  }

  Result<std::vector<Sha256::Digest>> run(const Job& job) {
    const std::vector<Stretch> stretches = gather();
    SNAP_TRY(parallel_for(stretches.size(), job, [&](size_t i) { return sum(stretches[i]); }));
    return std::move(sums_);
  }

 private:
  struct Stretch {
    size_t first = 0;  // of the places in order
    size_t count = 0;
    ByteRange range;
  };

  std::vector<Stretch> gather() const {
    std::vector<Stretch> stretches;
    for (size_t i = 0; i < order_.size(); ++i) {
      const auto [offset, length] = places_[order_[i]];
      if (!stretches.empty()) {
        auto& [first, count, range] = stretches.back();
        const uint64_t end = range.offset + range.length;
        const uint64_t new_end = std::max(end, offset + length);
        if (offset <= end + kGap && new_end - range.offset <= kIoPiece) {
          range.length = new_end - range.offset;
          ++count;
          continue;
        }
      }
      stretches.push_back({i, 1, {offset, length}});
    }
    return stretches;
  }

  Result<void> sum(const Stretch& stretch) {
    BufferPool::Lease lease(buffers_);
    const auto bytes = lease.bytes().first(stretch.range.length);
    // What lies between the places may be unreadable: that is nobody's business here.
    const bool all = static_cast<bool>(file_.read_medium(stretch.range.offset, bytes));
    for (size_t i = stretch.first; i < stretch.first + stretch.count; ++i) {
      const ByteRange& place = places_[order_[i]];
      const auto part = bytes.subspan(place.offset - stretch.range.offset, place.length);
      if (!all) SNAP_TRY(file_.read_medium(place.offset, part));
      sums_[order_[i]] = Sha256::of(part);
    }
    return {};
  }

  File& file_;
  std::span<const ByteRange> places_;
  std::vector<uint32_t> order_;  // of the places by offset
  std::vector<Sha256::Digest> sums_;
  BufferPool buffers_;
};

}  // namespace

Result<std::vector<Sha256::Digest>> medium_sums(File& file, std::span<const ByteRange> places,
                                                const Job& job) {
  return MediumSums(file, places).run(job);
}

}  // namespace snaptool
