// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "libsnap/base/result.h"

namespace snaptool {

// Makes one raw deflate stream (RFC 1951) at a time. For one thread.
class Deflater {
 public:
  // `window_bits`: how far back repetitions are looked for, 9 to 15; what reads it must look as
  // far. `level`: zlib's, 1 (fast) to 9; -1: what zlib takes without one.
  explicit Deflater(int window_bits = 12, int level = -1);  // QEMU reads no more of qcow2
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // Returns the stream's length, or nothing when it does not fit `out`.
  std::optional<size_t> deflate(std::span<const std::byte> data, std::span<std::byte> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Decompresses one raw deflate stream (RFC 1951) at a time. For one thread.
class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // `bytes` must begin with a stream whose content is as long as `out`, or longer: then `out` is
  // its beginning. What is behind it does not matter. Errors: kCorruption.
  Result<void> inflate_first(std::span<const std::byte> bytes, std::span<std::byte> out);
  struct Whole {
    size_t content = 0;  // bytes
    size_t stream = 0;   // bytes that it took
  };
  // All of the stream that `bytes` begin with. Errors: kCorruption, also for a content that does
  // not fit `out`.
  Result<Whole> inflate_whole(std::span<const std::byte> bytes, std::span<std::byte> out);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snaptool
