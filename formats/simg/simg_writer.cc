// SPDX-License-Identifier: Apache-2.0
#include "formats/simg/simg_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/simg/checksum.h"
#include "formats/simg/layout.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::simg {
namespace {

constexpr uint64_t kLeastChunk = 64 * kKiB;
constexpr uint64_t kMostChunks = uint64_t{1} << 20U;

// How an image is made.
struct Plan {
  uint64_t size = 0;
  uint64_t chunk = kLeastChunk;  // of the image, bytes; the last one may have less
  bool dont_care = false;        // for zeros
  bool sum = false;
};

// Whether all of them are the same four bytes again and again. Requires: there are four.
bool is_repeated(std::span<const std::byte> bytes) {
  return std::memcmp(bytes.data(), bytes.data() + kValueBytes, bytes.size() - kValueBytes) == 0;
}

class SimgWriter : public access::ImageWriter {
 public:
  SimgWriter(ByteSink sink, const Plan& plan) : sink_(std::move(sink)), plan_(plan) {}

  uint64_t unit_size() const override { return plan_.chunk; }
  uint64_t piece_size() const override { return std::max(plan_.chunk, kIoPiece); }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      const uint64_t from = i * plan_.chunk;
      SNAP_TRY(zeros_to(piece.offset + from));
      SNAP_TRY(put_data(piece.data.subspan(from, std::min(plan_.chunk, piece.data.size() - from))));
    }
    return {};
  }

  Result<void> write(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> finish() override {
    SNAP_TRY(zeros_to(plan_.size));
    if (!plan_.sum) return {};
    return put_value(ChunkType::kCrc, 0, sum_.value());
  }

 private:
  // What is before `offset` and did not come is zeros.
  Result<void> zeros_to(uint64_t offset) {
    SNAP_TRY(begin());
    if (plan_.sum) sum_.add_fill(0, offset - at_);
    while (at_ < offset) {
      const uint64_t length = std::min(plan_.chunk, offset - at_);
      SNAP_TRY(plan_.dont_care ? put_header(ChunkType::kDontCare, length, 0)
                               : put_value(ChunkType::kFill, length, 0));
      at_ += length;
    }
    return {};
  }

  Result<void> begin() {
    if (begun_) return {};
    begun_ = true;
    Header header;
    header.block_size = kNewBlock;
    header.blocks = static_cast<uint32_t>(plan_.size / kNewBlock);
    header.chunks =
        static_cast<uint32_t>(div_round_up(plan_.size, plan_.chunk) + (plan_.sum ? 1 : 0));
    return sink_(encode_header(header));
  }

  Result<void> put_data(std::span<const std::byte> bytes) {
    if (plan_.sum) sum_.add(bytes);
    at_ += bytes.size();
    if (is_repeated(bytes)) {
      return put_value(ChunkType::kFill, bytes.size(), load_le<uint32_t>(bytes.data()));
    }
    SNAP_TRY(put_header(ChunkType::kRaw, bytes.size(), bytes.size()));
    return sink_(bytes);
  }

  Result<void> put_value(ChunkType type, uint64_t length, uint32_t value) {
    std::array<std::byte, kValueBytes> bytes{};
    store_le(bytes.data(), value);
    SNAP_TRY(put_header(type, length, bytes.size()));
    return sink_(bytes);
  }

  // `length`: of its blocks; `content`: what follows in the file. Bytes.
  Result<void> put_header(ChunkType type, uint64_t length, uint64_t content) {
    ChunkHeader chunk;
    chunk.type = type;
    chunk.blocks = static_cast<uint32_t>(length / kNewBlock);
    chunk.total_bytes = static_cast<uint32_t>(kChunkHeaderBytes + content);
    return sink_(encode_chunk(chunk));
  }

  ByteSink sink_;
  Plan plan_;
  bool begun_ = false;
  uint64_t at_ = 0;  // what is before it was put, bytes of the image
  OutputSum sum_;
};

// Whether a setting has the second one of its two values, the default being the first.
Result<bool> is_second(const access::CreateOptions& options, const std::string& name,
                       std::string_view first, std::string_view second) {
  const auto given = options.settings.find(name);
  if (given == options.settings.end() || given->second == first) return false;
  if (given->second == second) return true;
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("{}={}: {} or {} is wanted", name, given->second, first, second));
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> stream_image(ByteSink sink,
                                                          const access::CreateOptions& options) {
  SNAP_CHECK(!options.parent && options.size % kNewBlock == 0);
  if (options.size / kNewBlock > UINT32_MAX) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than an Android sparse image with blocks of {} "
                             "can have",
                             options.size, kNewBlock));
  }
  Plan plan;
  plan.size = options.size;
  while (div_round_up(plan.size, plan.chunk) > kMostChunks) plan.chunk *= 2;
  SNAP_ASSIGN(plan.dont_care, is_second(options, "zeros", "fill", "dont-care"));
  SNAP_ASSIGN(plan.sum, is_second(options, "crc", "off", "on"));
  return std::make_unique<SimgWriter>(std::move(sink), plan);
}

}  // namespace snaptool::simg
