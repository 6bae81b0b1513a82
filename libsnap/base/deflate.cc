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
constexpr int kMemoryLevel = 9;

void set_buffers(z_stream& zlib, std::span<const std::byte> in, std::span<std::byte> out) {
  constexpr size_t kMost = std::numeric_limits<uInt>::max();
  SNAP_CHECK(in.size() <= kMost && out.size() <= kMost);
  // zlib takes bytes as it takes them since before there was const.
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));  // NOLINT
  zlib.avail_in = static_cast<uInt>(in.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
}

}  // namespace

struct Deflater::Context {
  z_stream zlib{};
};

Deflater::Deflater(int window_bits, int level) : context_(std::make_unique<Context>()) {
  const int status = deflateInit2(&context_->zlib, level, Z_DEFLATED, -window_bits, kMemoryLevel,
                                  Z_DEFAULT_STRATEGY);
  if (status != Z_OK) throw std::bad_alloc();
}

Deflater::~Deflater() { deflateEnd(&context_->zlib); }

std::optional<size_t> Deflater::deflate(std::span<const std::byte> data, std::span<std::byte> out) {
  z_stream& zlib = context_->zlib;
  SNAP_CHECK(deflateReset(&zlib) == Z_OK);
  set_buffers(zlib, data, out);
  if (::deflate(&zlib, Z_FINISH) != Z_STREAM_END) return std::nullopt;
  return out.size() - zlib.avail_out;
}

struct Inflater::Context {
  z_stream zlib{};
};

Inflater::Inflater() : context_(std::make_unique<Context>()) {
  if (inflateInit2(&context_->zlib, kRawWindow) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(&context_->zlib); }

Result<void> Inflater::inflate_first(std::span<const std::byte> bytes, std::span<std::byte> out) {
  z_stream& zlib = context_->zlib;
  SNAP_CHECK(inflateReset(&zlib) == Z_OK);
  set_buffers(zlib, bytes, out);
  const int status = inflate(&zlib, Z_FINISH);
  if (status == Z_MEM_ERROR) throw std::bad_alloc();
  if (zlib.avail_out > 0 || (status != Z_STREAM_END && status != Z_BUF_ERROR)) {
    return Error(ErrorCode::kCorruption, "the deflate stream is damaged or too short");
  }
  return {};
}

Result<Inflater::Whole> Inflater::inflate_whole(std::span<const std::byte> bytes,
                                                std::span<std::byte> out) {
  z_stream& zlib = context_->zlib;
  SNAP_CHECK(inflateReset(&zlib) == Z_OK);
  set_buffers(zlib, bytes, out);
  const int status = inflate(&zlib, Z_FINISH);
  if (status == Z_MEM_ERROR) throw std::bad_alloc();
  if (status == Z_STREAM_END)
    return Whole{out.size() - zlib.avail_out, bytes.size() - zlib.avail_in};
  const bool too_long = status == Z_BUF_ERROR && zlib.avail_out == 0;
  return Error(ErrorCode::kCorruption, too_long
                                           ? "the deflate stream has more content than it may have"
                                           : "the deflate stream is damaged or too short");
}

}  // namespace snaptool
