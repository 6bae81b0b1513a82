// SPDX-License-Identifier: Apache-2.0
#include "formats/raw/raw_writer.h"

#include <algorithm>
#include <cstring>

#include "formats/common/early_writeback.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/buffer_pool.h"

namespace snaptool::raw {
namespace {

constexpr uint64_t kLeastPiece = 256 * kKiB;

class RawWriter : public access::ImageWriter {
 public:
  RawWriter(File& file, access::Before before, Zeros zeros, uint64_t unit)
      : file_(file), before_(before), zeros_(zeros), unit_(unit), writeback_(file) {}

  uint64_t unit_size() const override { return unit_; }
  uint64_t piece_size() const override { return div_round_up(kLeastPiece, unit_) * unit_; }
  bool needs_zeros() const override {
    return before_ != access::Before::kZeros || zeros_ == Zeros::kAllocated;
  }
  Result<void> add_zeros(uint64_t offset, uint64_t length) override { return zero(offset, length); }
  Result<void> place(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> write(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size();) {
      size_t end = i + 1;
      while (end < piece.units.size() && piece.units[end] == piece.units[i]) ++end;
      const uint64_t from = i * unit_;
      const uint64_t length = std::min(end * unit_, piece.length) - from;
      if (piece.units[i] == access::UnitKind::kData) {
        SNAP_TRY(write_data(piece.offset + from, piece.data.subspan(from, length)));
      } else if (needs_zeros()) {
        SNAP_TRY(zero(piece.offset + from, length));
      }
      i = end;
    }
    return {};
  }

  Result<void> finish() override { return {}; }

 private:
  Result<void> write_data(uint64_t offset, std::span<const std::byte> data) {
    if (before_ == access::Before::kPartly) {
      SNAP_ASSIGN(const bool there, is_there(offset, data));
      if (there) return {};
    }
    SNAP_TRY(file_.write_at(offset, data));
    writeback_.wrote(offset, data.size());
    return {};
  }

  Result<bool> is_there(uint64_t offset, std::span<const std::byte> data) {
    SNAP_ASSIGN(const Extent extent, file_.extent_at(offset, data.size()));
    if (extent.zero && extent.length == data.size()) return false;
    BufferPool::Lease lease(buffers_);
    for (size_t done = 0; done < data.size();) {
      const auto piece = data.subspan(done, std::min<size_t>(kIoPiece, data.size() - done));
      SNAP_TRY(file_.read_at(offset + done, lease.bytes().first(piece.size())));
      if (std::memcmp(lease.bytes().data(), piece.data(), piece.size()) != 0) return false;
      done += piece.size();
    }
    return true;
  }

  Result<void> zero(uint64_t offset, uint64_t length) {
    if (zeros_ == Zeros::kAllocated) return file_.zero_at(offset, length, ZeroMode::kKeep);
    while (length > 0) {
      SNAP_ASSIGN(const Extent extent, file_.extent_at(offset, length));
      if (!extent.zero) SNAP_TRY(file_.zero_at(offset, extent.length, ZeroMode::kPunch));
      offset += extent.length;
      length -= extent.length;
    }
    return {};
  }

  File& file_;
  access::Before before_;
  Zeros zeros_;
  uint64_t unit_;
  EarlyWriteback writeback_;
  BufferPool buffers_;
};

}  // namespace

std::unique_ptr<access::ImageWriter> make_writer(File& file, access::Before before, Zeros zeros,
                                                 uint64_t unit) {
  return std::make_unique<RawWriter>(file, before, zeros, unit);
}

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  constexpr uint64_t kUnit = 4 * kKiB;
  return options.sparse > 0 ? make_writer(file, options.before, Zeros::kHoles, options.sparse)
                            : make_writer(file, options.before, Zeros::kAllocated, kUnit);
}

}  // namespace snaptool::raw
