// SPDX-License-Identifier: Apache-2.0
#include "formats/common/table_writer.h"

#include "libsnap/base/check.h"

namespace snaptool {

Result<void> TableWriter::write_piece() {
  SNAP_TRY(file_.write_at(offset_, piece_));
  offset_ += piece_.size();
  piece_.clear();
  return {};
}

Result<void> TableWriter::fill_to(uint64_t index) {
  SNAP_CHECK(index >= next_);
  for (; next_ < index; ++next_) {
    piece_.insert(piece_.end(), absent_.begin(), absent_.end());
    if (piece_.size() >= kPiece) SNAP_TRY(write_piece());
  }
  return {};
}

Result<void> TableWriter::set(uint64_t index, std::span<const std::byte> entry) {
  SNAP_CHECK(entry.size() == absent_.size());
  SNAP_TRY(fill_to(index));
  piece_.insert(piece_.end(), entry.begin(), entry.end());
  ++next_;
  return piece_.size() >= kPiece ? write_piece() : Result<void>();
}

Result<void> TableWriter::finish(uint64_t entries) {
  SNAP_TRY(fill_to(entries));
  return write_piece();
}

}  // namespace snaptool
