// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/list_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace snaptool {

Result<void> ListWriter::begin() {
  if (zeroed_) return {};
  constexpr std::array<std::byte, kSectorSize> kZeros{};
  SNAP_TRY(target_.write_at(0, kZeros));
  return target_.flush();
}

Result<uint64_t> ListWriter::area_offset(uint64_t area) const {
  const auto location = layout_.area_location(area);
  if (location && *location < target_.size() / layout_.chunk_bytes()) {
    return *location * layout_.chunk_bytes();
  }
  return Error(ErrorCode::kNoSpace,
               fmt::format("'{}' with {} bytes has no room for area {} of the list", target_.name(),
                           target_.size(), area));
}

Result<void> ListWriter::append(std::span<const Exception> entries) {
  const uint64_t per_area = layout_.exceptions_per_area();
  while (!entries.empty()) {
    const uint64_t index = entries_ % per_area;
    const size_t take =
        std::min<uint64_t>({entries.size(), per_area - index, kIoPiece / kDiskExceptionSize});
    bytes_.resize(take * kDiskExceptionSize);
    for (size_t i = 0; i < take; ++i) encode_exception(entries[i], &bytes_[i * kDiskExceptionSize]);
    SNAP_ASSIGN(const uint64_t offset, area_offset(entries_ / per_area));
    SNAP_TRY(target_.write_at(offset + index * kDiskExceptionSize, bytes_));
    entries = entries.subspan(take);
    entries_ += take;
  }
  return {};
}

Result<void> ListWriter::finish(const DiskHeader& header) {
  SNAP_ASSIGN(const uint64_t area, area_offset(entries_ / layout_.exceptions_per_area()));
  if (!zeroed_) {
    const uint64_t used = entries_ % layout_.exceptions_per_area() * kDiskExceptionSize;
    SNAP_TRY(target_.zero_at(area + used, layout_.chunk_bytes() - used, ZeroMode::kKeep));
    SNAP_TRY(target_.zero_at(0, layout_.chunk_bytes(), ZeroMode::kKeep));
    SNAP_TRY(target_.flush());
  }
  std::array<std::byte, kSectorSize> sector{};
  encode_header(header, std::span(sector).first<kDiskHeaderSize>());
  return target_.write_at(0, sector);
}

}  // namespace snaptool
