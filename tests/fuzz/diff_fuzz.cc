// SPDX-License-Identifier: Apache-2.0
// Any bytes as a snapdiff or as a diff of rbd's, applied to an image: nothing crashes or is read
// out of bounds, memory stays bounded, and what is accepted leads to an image of the size it says.
// An odd first byte makes the sums fit, so that what lies behind them is looked at.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "formats/rbd/rbd_diff.h"
#include "libsnap/base/endian.h"
#include "libsnap/diff/apply.h"
#include "libsnap/diff/snapdiff.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kImageBytes = 3 * kMiB;
constexpr uint64_t kMostTarget = 64 * kMiB;  // a larger image is only checked, not made

void require(bool condition) {
  if (!condition) std::abort();
}

void put(Bytes& stream, size_t at, const Sha256::Digest& digest) {
  std::copy(digest.begin(), digest.end(), stream.begin() + static_cast<ptrdiff_t>(at));
}

// Makes chain, index and end fit what is there.
void seal(Bytes& stream) {
  Sha256::Digest chain{};
  Sha256::Digest header_sum{};
  Sha256::Digest index_sum{};
  uint64_t index_position = 0;
  size_t at = 0;
  const auto all = std::span<const std::byte>(stream);
  while (stream.size() - at >= 12) {
    const auto length = load_le<uint32_t>(&stream[at + 4]);
    if (length < 4 || length > stream.size() - at - 8) return;
    const size_t size = size_t{length} + 8;
    const auto element = all.subspan(at, size);
    const std::string_view name(reinterpret_cast<const char*>(&stream[at + 8]), 4);
    size_t payload = 0;
    if (name == "SDH1" && size >= 88) {
      header_sum = Sha256::of(element);
      chain = Sha256::of(element.subspan(8, 80));
    } else if (name == "SDA1" && size >= 56) {
      Sha256 sum;
      sum.update(chain);
      sum.update(element.subspan(8));
      chain = sum.finish_digest();
    } else if (name == "SDB1" && size >= 136) {
      payload = load_le<uint32_t>(&stream[at + 28]);
      Sha256 sum;
      sum.update(chain);
      sum.update(element.subspan(8, 20));
      sum.update(element.subspan(36, 68));
      sum.update(element.subspan(136));
      chain = sum.finish_digest();
      put(stream, at + 104, chain);
    } else if (name == "SDX1" && size >= 56) {
      store_le(&stream[at + 16], index_position);
      put(stream, at + 24, index_sum);
      index_position = at;
      index_sum = Sha256::of(element);
    } else if (name == "SDE1" && size == 288) {
      store_le(&stream[at + 16], uint64_t{at});
      store_le(&stream[at + 56], index_position);
      put(stream, at + 64, index_sum);
      put(stream, at + 96, header_sum);
      put(stream, at + 128, chain);
      put(stream, at + 160, chain);
      put(stream, at + 256, Sha256::of(element.subspan(8, 248)));
    }
    at += size;
    if (payload > stream.size() - at) return;
    at += payload;
  }
}

ChainLink link_of(const Bytes& stream) {
  return {"diff", [&stream]() -> Result<std::unique_ptr<ChangeReader>> {
            ByteSource source = [&stream, at = size_t{0}](std::span<std::byte> out) mutable {
              const size_t size = std::min({out.size(), stream.size() - at, size_t{4097}});
              std::copy_n(stream.begin() + static_cast<ptrdiff_t>(at), size, out.begin());
              at += size;
              return Result<size_t>(size);
            };
            if (rbd::version_of(stream) > 0) {
              SNAP_ASSIGN(auto reader, rbd::Reader::open(std::move(source), "diff"));
              return std::unique_ptr<ChangeReader>(std::move(reader));
            }
            SNAP_ASSIGN(auto reader, SnapdiffReader::open(std::move(source), "diff"));
            return std::unique_ptr<ChangeReader>(std::move(reader));
          }};
}

void try_stream(const Bytes& stream) {
  Progress progress;
  const Cancel cancel;
  const Job job{progress, cancel, 1};
  MemoryFile as_file("diff", stream);
  MemoryFile image("image", kImageBytes);
  RawImage raw(image, kImageBytes);
  if (const auto expectations = expectations_of(as_file)) {
    require(expectations->size() <= kMostExpectations);
    (void)unmet_expectations(*expectations, raw);
  }
  auto chain = Chain::open({link_of(stream)}, kImageBytes);
  if (!chain) return;
  Apply apply(std::move(*chain));
  Image* const base = apply.shape().full ? nullptr : &raw;
  const auto checked = apply.check(base, Apply::BaseSize::kExact, true, std::nullopt, job);
  if (!checked || apply.shape().final_size() > kMostTarget) return;
  const bool full = base == nullptr;
  require(image.resize(full ? apply.shape().final_size() : kImageBytes).has_value());
  require(apply.write({&image, true, full}, *checked, nullptr, job).has_value());
  require(image.size() == apply.shape().final_size());
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(diff)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;  // NOLINT: the entry point is no namespace's
  if (size == 0) return 0;
  const auto* const bytes = reinterpret_cast<const std::byte*>(data);
  Bytes stream(bytes + 1, bytes + size);
  if ((data[0] & 1U) != 0) seal(stream);
  try_stream(stream);
  return 0;
}
