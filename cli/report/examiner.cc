// SPDX-License-Identifier: Apache-2.0
#include "cli/report/examiner.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/diff/content_hash.h"

namespace snaptool::cli {
namespace {

Result<std::vector<std::byte>> bytes_of(Image& image, uint64_t offset, uint64_t length) {
  const uint64_t left = offset < image.size() ? image.size() - offset : 0;
  std::vector<std::byte> bytes(std::min(length, left));
  SNAP_TRY(image.read_at(offset, bytes));
  return bytes;
}

}  // namespace

Result<ReportRange> Examiner::examine(const Difference& difference) {
  ReportRange range;
  range.difference = difference;
  if (wanted_.hex > 0) SNAP_TRY(dump(range));
  if (!wanted_.hashes) return range;
  SNAP_TRY(examine_side(before_, range.difference, range.before));
  SNAP_TRY(examine_side(after_, range.difference, range.after));
  return range;
}

Result<void> Examiner::examine_side(Image& image, const Difference& difference,
                                    ReportRange::Side& side) {
  if (difference.offset >= image.size()) return {};
  const uint64_t length = std::min(difference.length, image.size() - difference.offset);
  SNAP_ASSIGN(const RangeStatistics statistics,
              examine_range(image, difference.offset, length, {unseen_, job_.cancel, 1}));
  side.there = true;
  side.sha256 = statistics.sha256;
  side.entropy = statistics.entropy;
  side.zeros = statistics.zeros;
  SNAP_ASSIGN(const Extent extent, image.extent_at(difference.offset, length));
  if (extent.length == length && extent.file != nullptr) {
    side.file_offset = extent.file_offset;
    side.filename = extent.file->name();
  }
  return {};
}

// From the first row of 16 bytes that differs.
Result<void> Examiner::dump(ReportRange& range) {
  constexpr uint64_t kRow = 16;
  const Difference& difference = range.difference;
  const uint64_t end = difference.offset + difference.length;
  for (uint64_t at = difference.offset; at < end; at += kIoPiece) {
    const uint64_t length = std::min(kIoPiece, end - at);
    SNAP_ASSIGN(auto before, bytes_of(before_, at, length));
    SNAP_ASSIGN(auto after, bytes_of(after_, at, length));
    const size_t common = std::min(before.size(), after.size());
    const auto [one, other] =
        std::mismatch(before.begin(), before.begin() + static_cast<ptrdiff_t>(common),
                      after.begin(), after.begin() + static_cast<ptrdiff_t>(common));
    const auto first = static_cast<uint64_t>(one - before.begin());
    if (first == common && before.size() == after.size()) continue;
    range.hex_offset = std::max(difference.offset, round_down(at + first, kRow));
    const uint64_t shown = std::min(wanted_.hex, end - range.hex_offset);
    SNAP_ASSIGN(before, bytes_of(before_, range.hex_offset, shown));
    SNAP_ASSIGN(after, bytes_of(after_, range.hex_offset, shown));
    range.before.hex = hex_of(before);
    range.after.hex = hex_of(after);
    return {};
  }
  return {};
}

Result<ExaminerOptions> examiner_options(const Invocation& invocation) {
  constexpr uint64_t kMostHex = 64 * kKiB;
  constexpr uint64_t kDefaultHex = 64;
  ExaminerOptions wanted;
  wanted.hashes = invocation.has("hash") || invocation.has("report");
  if (!invocation.has("hex")) return wanted;
  const std::string text = invocation.value("hex").value_or("");
  wanted.hex = kDefaultHex;
  if (!text.empty()) {
    SNAP_ASSIGN(wanted.hex, parse_size(text));
  }
  if (wanted.hex == 0 || wanted.hex > kMostHex) {
    return Error(ErrorCode::kInvalidArgument, "--hex takes a size from 1 to 64k");
  }
  return wanted;
}

}  // namespace snaptool::cli
