// SPDX-License-Identifier: Apache-2.0
#include "formats/raw/parts_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/printable.h"

namespace snaptool::raw {
namespace {

constexpr uint64_t kUnit = 4 * kKiB;  // where no size of holes was asked for

class PartsWriter : public access::ImageWriter {
 public:
  PartsWriter(access::PartsSink sink, const access::CreateOptions& options, uint64_t part)
      : sink_(std::move(sink)),
        size_(options.size),
        part_(part),
        unit_(options.sparse > 0 ? options.sparse : kUnit),
        holes_(options.sparse > 0),
        zeros_(holes_ ? 0 : kIoPiece) {}

  uint64_t unit_size() const override { return unit_; }
  uint64_t piece_size() const override { return div_round_up(kIoPiece, unit_) * unit_; }

  Result<void> place(access::WritePiece& piece) override {
    SNAP_TRY(zeros_to(piece.offset));
    for (size_t i = 0; i < piece.units.size(); ++i) {
      const uint64_t from = i * unit_;
      if (piece.units[i] != access::UnitKind::kData) continue;
      SNAP_TRY(zeros_to(piece.offset + from));
      SNAP_TRY(put(piece.data.subspan(from, std::min(unit_, piece.data.size() - from))));
    }
    return {};
  }

  Result<void> write(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> finish() override {
    SNAP_TRY(zeros_to(size_));
    return at_ == 0 ? sink_.begin_part() : Result<void>();
  }

 private:
  // So many of `length` bytes as go into the part; begins one where the last is full.
  Result<uint64_t> fitting(uint64_t length) {
    if (at_ % part_ == 0) SNAP_TRY(sink_.begin_part());
    return std::min(length, part_ - at_ % part_);
  }

  Result<void> put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      SNAP_ASSIGN(const uint64_t length, fitting(bytes.size()));
      SNAP_TRY(sink_.write(bytes.first(length)));
      at_ += length;
      bytes = bytes.subspan(length);
    }
    return {};
  }

  Result<void> zeros_to(uint64_t offset) {
    while (at_ < offset) {
      SNAP_ASSIGN(uint64_t length, fitting(offset - at_));
      if (holes_) {
        SNAP_TRY(sink_.skip(length));
      } else {
        length = std::min<uint64_t>(length, zeros_.size());
        SNAP_TRY(sink_.write(std::span(zeros_).first(length)));
      }
      at_ += length;
    }
    return {};
  }

  access::PartsSink sink_;
  uint64_t size_;
  uint64_t part_;  // bytes of each
  uint64_t unit_;
  bool holes_;  // for zeros
  std::vector<std::byte> zeros_;
  uint64_t at_ = 0;  // what is before it was put
};

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> stream_parts(access::PartsSink sink,
                                                          const access::CreateOptions& options) {
  const std::string& value = options.settings.at(std::string(kPartSize));
  const auto part = parse_size(value);
  if (!part || *part == 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{}={}: a size is wanted, as 2G", kPartSize, excerpt(value)));
  }
  return std::make_unique<PartsWriter>(std::move(sink), options, *part);
}

}  // namespace snaptool::raw
