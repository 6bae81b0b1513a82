// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "libsnap/base/result.h"

namespace snaptool {

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

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snaptool
