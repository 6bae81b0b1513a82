// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "libsnap/base/endian.h"
#include "libsnap/base/sha256.h"
#include "libsnap/diff/chain.h"
#include "libsnap/diff/export.h"
#include "libsnap/diff/snapdiff.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/model.h"

namespace snaptool::test {

// A snapdiff in memory.
struct Diff {
  Bytes stream;
  ChangeEnd end;
};

// An image in memory, and what a step of work on it takes.
struct ImageInMemory {
  explicit ImageInMemory(const Bytes& content)
      : file("image", content), image(file, content.size()) {}
  MemoryFile file;
  RawImage image;
  Progress progress;
  Cancel cancel;
  Job job{progress, cancel, 1};
};

inline ByteSink sink_into(Bytes& stream) {
  return [&stream](std::span<const std::byte> bytes) -> Result<void> {
    stream.insert(stream.end(), bytes.begin(), bytes.end());
    return {};
  };
}

// Of images of which the base may be left out: a full one then.
inline Diff exported_diff(const Bytes* base, const Bytes& target, const ExportOptions& options) {
  Diff diff;
  ImageInMemory before(base == nullptr ? Bytes() : *base);
  ImageInMemory after(target);
  SnapdiffWriter writer(sink_into(diff.stream), 1);
  auto end = export_changes(base == nullptr ? nullptr : &before.image, after.image, writer, options,
                            after.job);
  require(end.has_value());
  diff.end = *std::move(end);
  return diff;
}

inline ChainLink link_of(const Bytes& stream) {
  return {"diff", [&stream]() -> Result<std::unique_ptr<ChangeReader>> {
            ByteSource source = [&stream, at = size_t{0}](std::span<std::byte> out) mutable {
              const size_t size = std::min({out.size(), stream.size() - at, size_t{70'001}});
              std::copy_n(stream.begin() + static_cast<ptrdiff_t>(at), size, out.begin());
              at += size;
              return Result<size_t>(size);
            };
            SNAP_ASSIGN(auto reader, SnapdiffReader::open(std::move(source), "diff"));
            return std::unique_ptr<ChangeReader>(std::move(reader));
          }};
}

// Requires: the diffs outlive the chain.
inline Result<Chain> open_chain(const std::vector<const Diff*>& diffs, uint64_t base_size) {
  std::vector<ChainLink> links;
  for (const Diff* const diff : diffs) links.push_back(link_of(diff->stream));
  return Chain::open(std::move(links), base_size, Linking::kOptional);
}

// Makes the sums in a snapdiff fit what is there: chain, index, identities and end.
class DiffSealer {
 public:
  explicit DiffSealer(Bytes& stream) : stream_(stream) {}

  void seal() {
    while (stream_.size() - at_ >= 12) {
      const auto length = load_le<uint32_t>(&stream_[at_ + 4]);
      if (length < 4 || length > stream_.size() - at_ - 8) return;
      size_ = size_t{length} + 8;
      seal_element(std::string_view(reinterpret_cast<const char*>(&stream_[at_ + 8]), 4));
      at_ += size_;
      if (payload_ > stream_.size() - at_) return;
      at_ += std::exchange(payload_, 0);
    }
  }

 private:
  std::span<const std::byte> element() const { return std::span(stream_).subspan(at_, size_); }
  template <typename T>
  void put(size_t at, T value) {
    store_le(&stream_[at_ + at], value);
  }
  void put(size_t at, const Sha256::Digest& digest) {
    std::copy(digest.begin(), digest.end(), stream_.begin() + static_cast<ptrdiff_t>(at_ + at));
  }
  // Of the chain so far, and of ranges of the element.
  Sha256::Digest chained(std::initializer_list<std::pair<size_t, size_t>> ranges) const {
    Sha256 sum;
    sum.update(chain_);
    for (const auto& [from, to] : ranges) sum.update(element().subspan(from, to - from));
    return sum.finish_digest();
  }

  void seal_element(std::string_view name) {
    if (name == "SDH1" && size_ >= 88) {
      header_sum_ = Sha256::of(element());
      chain_ = Sha256::of(element().subspan(8, 80));
    } else if (name == "SDA1" && size_ >= 56) {
      chain_ = chained({{8, size_}});
    } else if (name == "SDB1" && size_ >= 136) {
      payload_ = load_le<uint32_t>(&stream_[at_ + 28]);
      chain_ = chained({{8, 28}, {36, 104}, {136, size_}});
      put(104, chain_);
    } else if (name == "SDX1" && size_ >= 56) {
      put(16, index_position_);
      put(24, index_sum_);
      index_position_ = at_;
      index_sum_ = Sha256::of(element());
    } else if (name == "sdi1" && size_ == 80) {
      put(48, chained({{8, 48}}));
    } else if (name == "SDE1" && size_ == 288) {
      put(16, uint64_t{at_});
      put(56, index_position_);
      put(64, index_sum_);
      put(96, header_sum_);
      put(128, chain_);
      put(160, chain_);
      put(256, Sha256::of(element().subspan(8, 248)));
    }
  }

  Bytes& stream_;
  size_t at_ = 0;       // of the element
  size_t size_ = 0;     // of the element
  size_t payload_ = 0;  // that follows it
  Sha256::Digest chain_{};
  Sha256::Digest header_sum_{};
  Sha256::Digest index_sum_{};
  uint64_t index_position_ = 0;
};

}  // namespace snaptool::test
