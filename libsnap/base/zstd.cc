// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/zstd.h"

#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <new>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

constexpr int kMostWindowLog = 23;  // 8 MiB

// Requires what a function of zstd returned.
void throw_for_memory(size_t result) {
  if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
}

}  // namespace

struct ZstdCompressor::Context {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
};

ZstdCompressor::ZstdCompressor(int level, bool checksum) : context_(std::make_unique<Context>()) {
  if (context_->zstd == nullptr) throw std::bad_alloc();
  const auto set = [this](ZSTD_cParameter parameter, int value) {
    SNAP_CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(context_->zstd, parameter, value)));
  };
  set(ZSTD_c_compressionLevel, level);
  set(ZSTD_c_checksumFlag, checksum ? 1 : 0);
  set(ZSTD_c_contentSizeFlag, 1);
}

ZstdCompressor::~ZstdCompressor() { ZSTD_freeCCtx(context_->zstd); }

void ZstdCompressor::compress(std::span<const std::byte> data, RawBytes& out) {
  out.resize(ZSTD_compressBound(data.size()));
  const size_t size =
      ZSTD_compress2(context_->zstd, out.data(), out.size(), data.data(), data.size());
  throw_for_memory(size);
  SNAP_CHECK(!ZSTD_isError(size));  // there is room
  out.resize(size);
}

std::optional<size_t> ZstdCompressor::compress(std::span<const std::byte> data,
                                               std::span<std::byte> out) {
  const size_t size =
      ZSTD_compress2(context_->zstd, out.data(), out.size(), data.data(), data.size());
  throw_for_memory(size);
  if (ZSTD_isError(size)) return std::nullopt;  // nothing but room can be missing
  return size;
}

struct ZstdDecompressor::Context {
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
};

ZstdDecompressor::ZstdDecompressor() : context_(std::make_unique<Context>()) {
  if (context_->zstd == nullptr) throw std::bad_alloc();
  SNAP_CHECK(
      !ZSTD_isError(ZSTD_DCtx_setParameter(context_->zstd, ZSTD_d_windowLogMax, kMostWindowLog)));
}

ZstdDecompressor::~ZstdDecompressor() { ZSTD_freeDCtx(context_->zstd); }

Result<void> ZstdDecompressor::decompress(std::span<const std::byte> frame,
                                          std::span<std::byte> out) {
  const size_t frame_size = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(frame_size) || frame_size != frame.size() ||
      ZSTD_getFrameContentSize(frame.data(), frame.size()) != out.size()) {
    return Error(ErrorCode::kCorruption, "the payload is not one zstd frame of the right size");
  }
  return decompress_first(frame, out);
}

Result<void> ZstdDecompressor::decompress_first(std::span<const std::byte> bytes,
                                                std::span<std::byte> out) {
  const size_t frame_size = ZSTD_findFrameCompressedSize(bytes.data(), bytes.size());
  if (ZSTD_isError(frame_size)) {
    return Error(ErrorCode::kCorruption, "there is no whole zstd frame");
  }
  const auto frame = bytes.first(frame_size);
  // The output is the window, however large a frame says that its window is.
  const size_t size =
      ZSTD_decompressDCtx(context_->zstd, out.data(), out.size(), frame.data(), frame.size());
  throw_for_memory(size);
  if (ZSTD_isError(size) || size != out.size()) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the payload cannot be decompressed ({})",
                             ZSTD_isError(size) ? ZSTD_getErrorName(size) : "it is too short"));
  }
  return {};
}

}  // namespace snaptool
