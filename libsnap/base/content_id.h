// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace snaptool {

// Tells the content of whole images apart: 128 bits over all bytes and the size. It finds mistakes,
// and is no match for malice: where that matters, SHA-256 is there. libsnap/diff/FORMAT.md has how
// it is made.
using ContentId = std::array<std::byte, 16>;

// An image's, window by window, in any order: so threads share the work, and windows of zeros, the
// holes of an image, cost nothing.
class ContentSum {
 public:
  static constexpr uint64_t kWindowBytes = uint64_t{1} << 20;

  // What a window adds.
  struct Part {
    uint64_t high = 0;
    uint64_t low = 0;
    bool operator==(const Part&) const = default;
  };
  // Requires: kWindowBytes of content, zeros behind the image's end.
  static Part part_of(uint64_t window, std::span<const std::byte> content);

  void add(const Part& part);
  ContentId finish(uint64_t image_size) const;

 private:
  Part sum_;
};

}  // namespace snaptool
