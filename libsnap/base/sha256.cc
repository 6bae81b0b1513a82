// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/sha256.h"

#include <algorithm>

#include "libsnap/base/check.h"

namespace snaptool {

void Sha256::update(std::span<const std::byte> data) { hash_.update(data); }

std::string Sha256::finish() { return hash_.finish(); }

Sha256::Digest Sha256::finish_digest() {
  std::array<std::byte, 64> sum{};
  Digest digest{};
  SNAP_CHECK(hash_.finish(sum) == digest.size());
  std::copy_n(sum.begin(), digest.size(), digest.begin());
  return digest;
}

Sha256::Digest Sha256::of(std::span<const std::byte> data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish_digest();
}

}  // namespace snaptool
