// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "libsnap/base/hash.h"

namespace snaptool {

// A running SHA-256.
class Sha256 {
 public:
  using Digest = std::array<std::byte, 32>;

  void update(std::span<const std::byte> data);
  // The sum in lower-case hex, or as it is. Ends the hash: nothing may be added after it.
  std::string finish();
  Digest finish_digest();
  static Digest of(std::span<const std::byte> data);

 private:
  Hash hash_{HashAlgorithm::kSha256};
};

}  // namespace snaptool
