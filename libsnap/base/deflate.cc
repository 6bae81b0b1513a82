// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/deflate.h"

#include <zlib.h>

#include <limits>
#include <new>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

// No header and no checksum, and a window as large as any.
constexpr int kRawWindow = -15;

}  // namespace

struct Inflater::Context {
  z_stream zlib{};
};

Inflater::Inflater() : context_(std::make_unique<Context>()) {
  if (inflateInit2(&context_->zlib, kRawWindow) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(&context_->zlib); }

Result<void> Inflater::inflate_first(std::span<const std::byte> bytes, std::span<std::byte> out) {
  constexpr size_t kMost = std::numeric_limits<uInt>::max();
  SNAP_CHECK(bytes.size() <= kMost && out.size() <= kMost);
  z_stream& zlib = context_->zlib;
  SNAP_CHECK(inflateReset(&zlib) == Z_OK);
  // zlib takes bytes as it takes them since before there was const.
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));  // NOLINT
  zlib.avail_in = static_cast<uInt>(bytes.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&zlib, Z_FINISH);
  if (zlib.avail_out > 0 || (status != Z_STREAM_END && status != Z_BUF_ERROR)) {
    return Error(ErrorCode::kCorruption, "the deflate stream is damaged or too short");
  }
  return {};
}

}  // namespace snaptool
