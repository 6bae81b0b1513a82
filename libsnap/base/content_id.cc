// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/content_id.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>
#include <memory>

#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

XXH128_hash_t hash_of_zeros() {
  static const XXH128_hash_t hash = [] {
    const auto zeros = std::make_unique<std::byte[]>(ContentSum::kWindowBytes);
    return XXH3_128bits(zeros.get(), ContentSum::kWindowBytes);
  }();
  return hash;
}

}  // namespace

ContentSum::Part ContentSum::part_of(uint64_t window, std::span<const std::byte> content) {
  SNAP_CHECK(content.size() == kWindowBytes);
  const XXH128_hash_t hash = XXH3_128bits(content.data(), content.size());
  if (XXH128_isEqual(hash, hash_of_zeros()) != 0) return {};
  std::array<std::byte, 24> with_place{};
  store_le(with_place.data(), window);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::memcpy(with_place.data() + 8, canonical.digest, sizeof(canonical.digest));
  const XXH128_hash_t part = XXH3_128bits(with_place.data(), with_place.size());
  return {part.high64, part.low64};
}

void ContentSum::add(const Part& part) {
  sum_.high += part.high;
  sum_.low += part.low;
}

ContentId ContentSum::finish(uint64_t image_size) const {
  std::array<std::byte, 24> all{};
  store_le(all.data(), image_size);
  store_le(all.data() + 8, sum_.high);
  store_le(all.data() + 16, sum_.low);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(all.data(), all.size()));
  ContentId id;
  static_assert(sizeof(canonical.digest) == std::tuple_size_v<ContentId>);
  std::memcpy(id.data(), canonical.digest, id.size());
  return id;
}

}  // namespace snaptool
