// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "libsnap/base/io_bytes.h"
#include "libsnap/base/result.h"

namespace snaptool {

// Levels that --level takes: more would need more memory to decompress than readers allow.
inline constexpr int kLeastZstdLevel = 1;
inline constexpr int kMostZstdLevel = 19;
inline constexpr int kDefaultZstdLevel = 3;

// Makes one zstd frame (RFC 8878) at a time, with content size. For one thread.
class ZstdCompressor {
 public:
  explicit ZstdCompressor(int level, bool checksum = true);
  ~ZstdCompressor();
  ZstdCompressor(const ZstdCompressor&) = delete;
  ZstdCompressor& operator=(const ZstdCompressor&) = delete;

  // `out` becomes the frame. The same for the same data, level and libzstd.
  void compress(std::span<const std::byte> data, RawBytes& out);
  // The same; returns the frame's length, or nothing when it does not fit `out`.
  std::optional<size_t> compress(std::span<const std::byte> data, std::span<std::byte> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Decompresses one zstd frame at a time. For one thread.
class ZstdDecompressor {
 public:
  ZstdDecompressor();
  ~ZstdDecompressor();
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;

  // `frame` must be one whole frame that says its content's size, which is that of `out`.
  // Errors: kCorruption.
  Result<void> decompress(std::span<const std::byte> frame, std::span<std::byte> out);
  // `bytes` must begin with a whole frame, whose content is as long as `out`; what is behind it
  // does not matter. Errors: kCorruption.
  Result<void> decompress_first(std::span<const std::byte> bytes, std::span<std::byte> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snaptool
