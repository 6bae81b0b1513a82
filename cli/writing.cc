// SPDX-License-Identifier: Apache-2.0
#include "cli/writing.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "libsnap/base/check.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::cli {
namespace {

constexpr uint64_t kDefaultInFlight = 64 * kMiB;

}  // namespace

Result<uint64_t> parse_chunk_size(const std::string& text) {
  SNAP_ASSIGN(const uint64_t bytes, parse_size(text));
  if (bytes > 0 && bytes < kSectorSize) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("a chunk of {0} bytes is less than a sector: {0}s or {0}k?", bytes));
  }
  if (!std::has_single_bit(bytes) || bytes > kGiB) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("a chunk size is a power of two from 512 to 1G, not '{}'", text));
  }
  return bytes;
}

Result<uint64_t> in_flight_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("in-flight"));
  if (given && *given < kIoPiece) {
    return Error(ErrorCode::kInvalidArgument, "--in-flight takes 1M or more");
  }
  return given.value_or(kDefaultInFlight);
}

OptionSpec in_flight_option() {
  return {0,
          "in-flight",
          OptionKind::kValue,
          "SIZE",
          "data between two commits, at most (default: 64M)",
          ValueHint::kNone,
          {}};
}

std::vector<OptionSpec> data_options() {
  return {
      {'i',
       "input",
       OptionKind::kValue,
       "FILE",
       "take the data from FILE (default: standard input)",
       ValueHint::kFile,
       {}},
      {'P',
       "pattern",
       OptionKind::kValue,
       "BYTE",
       "write this byte, --length times",
       ValueHint::kNone,
       {}},
      {0, "offset", OptionKind::kValue, "SIZE", "write there (default: 0)", ValueHint::kNone, {}},
      {0,
       "length",
       OptionKind::kValue,
       "SIZE",
       "write so much (default: all the data)",
       ValueHint::kNone,
       {}}};
}

Result<void> check_range(const Image& image, uint64_t offset, uint64_t length) {
  if (offset > image.size() || length > image.size() - offset) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {} pass the end of '{}' at byte {}", length, offset,
                             image.name(), image.size()));
  }
  if (offset % kSectorSize != 0 || length % kSectorSize != 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} bytes at byte {}: a disk is written in whole sectors of {} bytes",
                             length, offset, kSectorSize));
  }
  return {};
}

Result<WriteRequest> write_request(const Invocation& invocation, const Image& image,
                                   const std::vector<const File*>& written) {
  SNAP_ASSIGN(const auto offset, invocation.size_value("offset"));
  SNAP_ASSIGN(const auto length, invocation.size_value("length"));
  SNAP_ASSIGN(DataSource source,
              DataSource::open({invocation.value("input"), invocation.value("pattern"), length}));
  for (const File* file : written) {
    const auto storages = file->storages();
    if (std::any_of(storages.begin(), storages.end(),
                    [&](const Storage& storage) { return storage.id == source.id(); })) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the data come from '{}', which is written to itself", file->name()));
    }
  }
  const auto known = source.length();
  SNAP_TRY(check_range(image, offset.value_or(0), known.value_or(0)));
  return WriteRequest{std::move(source), offset.value_or(0), known};
}

Error no_room(const Snapshot& snapshot, uint64_t needed, std::string_view what) {
  const auto size = snapshot.cow_size_for(needed);
  const std::string advice =
      size ? fmt::format(" (a COW of {} bytes would do: see 'snaptool resize')", *size) : "";
  return {ErrorCode::kNoSpace,
          fmt::format("'{}' has room for {} more chunks, and {} needs {}: nothing was written{}",
                      snapshot.cow().name(), snapshot.room(), what, needed, advice)};
}

Result<uint64_t> pump(
    WriteRequest& request, const Image& image, uint64_t piece, const Job& job,
    const std::function<Result<void>(uint64_t offset, std::span<const std::byte>)>& sink) {
  IoBytes buffer(std::min(piece, std::max(request.most(image), kSectorSize)));
  uint64_t done = 0;
  while (true) {
    SNAP_ASSIGN(const uint64_t got, request.source.read(buffer));
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    if (got == 0) return done;
    SNAP_TRY(check_range(image, request.offset + done, got));
    SNAP_TRY(sink(request.offset + done, std::span(buffer).first(got)));
    job.progress.add(got);
    done += got;
    if (got < buffer.size()) return done;
  }
}

}  // namespace snaptool::cli
