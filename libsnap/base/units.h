// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libsnap/base/result.h"

namespace snaptool {

inline constexpr uint64_t kSectorSize = 512;  // bytes; the unit of the kernel's block layer
inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// A piece of I/O is never larger than this, however large a chunk is.
inline constexpr uint64_t kIoPiece = kMiB;

// The largest size and offset that the kernel can give a file or device (loff_t).
inline constexpr uint64_t kMaxFileSize = INT64_MAX;

// Bytes from "4096", "0x1000", "4k", "64KiB", "1.5 MiB" (powers of 1024), "1MB" (10^6), "8s".
// Errors: kInvalidArgument on anything else, part of a byte, and what does not fit in 63 bits.
Result<uint64_t> parse_size(std::string_view text);

// "1.5 MiB", for people only.
std::string format_size(uint64_t bytes);

// A part of an image, in bytes.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

}  // namespace snaptool
