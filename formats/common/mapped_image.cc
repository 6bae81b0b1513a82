// SPDX-License-Identifier: Apache-2.0
#include "formats/common/mapped_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/check.h"

namespace snaptool {
Result<void> MappedImage::check_there(const File& file, uint64_t offset, uint64_t length) const {
  const auto tables = std::find_if(tables_.begin(), tables_.end(), [&](const ByteRange& range) {
    return offset < range.offset + range.length && range.offset < offset + length;
  });
  if (&file == file_.get() && tables != tables_.end()) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}': {} bytes of the image are at byte {}, within its own tables",
                             file.name(), length, offset));
  }
  if (offset <= file.size() && length <= file.size() - offset) return {};
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' ends at byte {}, but {} bytes of the image are at byte {}",
                           file.name(), file.size(), length, offset));
}

Result<MappedImage::Run> MappedImage::long_run_at(uint64_t offset, uint64_t limit,
                                                  size_t most_steps) {
  SNAP_ASSIGN(Run run, run_at(offset, limit));
  SNAP_CHECK(run.length > 0 && run.length <= limit);
  // Nothing is below these that could end sooner.
  constexpr size_t kMostOfNothing = 65536;
  const bool is_nothing =
      run.kind == Run::Kind::kZero || (run.kind == Run::Kind::kParent && parent_ == nullptr);
  if (is_nothing) most_steps = std::max(most_steps, kMostOfNothing);
  for (size_t step = 1; run.length < limit && run.kind != Run::Kind::kPacked && step < most_steps;
       ++step) {
    const auto next = run_at(offset + run.length, limit - run.length);
    // What is wrong with it is told when it is wanted.
    if (!next || next->kind != run.kind || next->file != run.file) break;
    if (run.kind == Run::Kind::kData && next->offset != run.offset + run.length) break;
    run.length += next->length;
  }
  return run;
}

Result<void> MappedImage::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_CHECK(offset <= size_ && out.size() <= size_ - offset);
  while (!out.empty()) {
    SNAP_ASSIGN(const Run run, long_run_at(offset, out.size(), SIZE_MAX));
    SNAP_TRY(read_run(run, offset, out.first(run.length)));
    offset += run.length;
    out = out.subspan(run.length);
  }
  return {};
}

Result<void> MappedImage::read_run(const Run& run, uint64_t offset, std::span<std::byte> out) {
  uint64_t there = 0;
  switch (run.kind) {
    case Run::Kind::kZero:
      break;
    case Run::Kind::kParent:
      if (parent_ == nullptr || offset >= parent_->size()) break;
      there = std::min<uint64_t>(out.size(), parent_->size() - offset);
      SNAP_TRY(parent_->read_at(offset, out.first(there)));
      break;
    case Run::Kind::kPacked:
      return read_packed(run, offset, out);
    case Run::Kind::kData:
      SNAP_TRY(check_there(*run.file, run.offset, out.size()));
      return run.file->read_at(run.offset, out);
  }
  std::memset(out.data() + there, 0, out.size() - there);
  return {};
}

Result<Extent> MappedImage::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size_ && limit > 0);
  // What is below may end much sooner: then all that was walked would be walked again.
  constexpr size_t kMostSteps = 16;
  SNAP_ASSIGN(const Run run, long_run_at(offset, std::min(limit, size_ - offset), kMostSteps));
  Extent extent{run.length, true, 0, file_.get(), std::nullopt};
  switch (run.kind) {
    case Run::Kind::kZero:
      break;
    case Run::Kind::kParent: {
      if (parent_ == nullptr || offset >= parent_->size()) break;
      SNAP_ASSIGN(extent,
                  parent_->extent_at(offset, std::min(run.length, parent_->size() - offset)));
      ++extent.depth;
      break;
    }
    case Run::Kind::kPacked:
      extent.zero = false;
      break;
    case Run::Kind::kData: {
      SNAP_TRY(check_there(*run.file, run.offset, run.length));
      SNAP_ASSIGN(const Extent below, run.file->extent_at(run.offset, run.length));
      extent = {below.length, below.zero, 0, run.file, run.offset};
      break;
    }
  }
  return extent;
}

Result<void> MappedImage::read_packed(const Run& /*run*/, uint64_t /*offset*/,
                                      std::span<std::byte> /*out*/) {
  SNAP_CHECK(false);
  return {};
}

}  // namespace snaptool
