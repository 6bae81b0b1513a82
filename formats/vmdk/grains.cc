// SPDX-License-Identifier: Apache-2.0
#include "formats/vmdk/grains.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/zlib_format.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::vmdk {
namespace {

using Part = ExtentImage::Part;
using Run = ExtentImage::Run;

Result<std::vector<std::byte>> read_head(File& file, size_t size) {
  if (file.size() < size) return broken("the header is cut off");
  std::vector<std::byte> bytes(size);
  SNAP_TRY(file.read_at(0, bytes));
  return bytes;
}

// The header again, with the place of the directory.
Result<SparseHeader> read_footer(File& file, const SparseHeader& header) {
  const uint64_t most = kMostPadding + 3 * kSectorSize;
  const uint64_t start = round_down(file.size() - std::min(most, file.size()), kSectorSize);
  std::vector<std::byte> tail(file.size() - start);
  SNAP_TRY(file.read_at(start, tail));
  const auto at = find_footer(tail);
  if (!at)
    return broken("its footer is not at its end: it is truncated, or something was appended");
  SNAP_ASSIGN(const SparseHeader footer,
              parse_sparse_header(std::span(tail).subspan(*at, kSparseHeaderBytes)));
  SNAP_TRY(check_footer(header, footer));
  return footer;
}

Result<SparseFile> read_hosted(File& file) {
  SNAP_ASSIGN(const auto bytes, read_head(file, kSparseHeaderBytes));
  SNAP_ASSIGN(SparseHeader header, parse_sparse_header(bytes));
  SparseFile sparse;
  sparse.unclean = header.unclean;
  if (header.descriptor != 0) {
    sparse.descriptor = header.descriptor * kSectorSize;
    sparse.descriptor_size = header.descriptor_sectors * kSectorSize;
  }
  if (header.directory == kDirectoryAtEnd) {
    SNAP_ASSIGN(header, read_footer(file, header));
  }
  SNAP_ASSIGN(sparse.grains, grain_map_of(header));
  return sparse;
}

Result<SparseFile> read_cowd(File& file) {
  SNAP_ASSIGN(const auto bytes, read_head(file, kCowdHeaderBytes));
  SNAP_ASSIGN(const CowdHeader header, parse_cowd_header(bytes));
  SparseFile sparse;
  sparse.grains = header.grains;
  sparse.unclean = header.unclean;
  return sparse;
}

class GrainPart : public Part {
 public:
  GrainPart(std::shared_ptr<File> file, const GrainMap& grains, std::shared_ptr<GrainTools> tools)
      : file_(std::move(file)), grains_(grains), tools_(std::move(tools)) {}

  // Runs do not go on from one grain table to the next.
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    const auto tables = tools_->tables.of(*file_);
    TableCache::Cursor cursor(*tables);
    const uint64_t reach = grains_.table_entries * grains_.grain_bytes();
    limit = std::min(limit, reach - offset % reach);
    const uint64_t at = grains_.directory * kSectorSize + 4 * (offset / reach);
    SNAP_ASSIGN(const auto table, cursor.le<uint32_t>(at));
    if (table == 0) {
      SNAP_TRY(check_absent(cursor, offset / reach));
      Run run;
      run.kind = Run::Kind::kParent;
      run.length = limit;
      return run;
    }
    if (table < grains_.first_sector) return impossible("grain directory", table);
    SNAP_ASSIGN(Run run, grain_at(cursor, table, offset));
    // A few: what the parent has may end sooner, and then they would be walked again.
    constexpr int kMostGrains = 8;
    for (int i = 1; i < kMostGrains && run.length < limit && run.kind != Run::Kind::kPacked; ++i) {
      const auto next = grain_at(cursor, table, offset + run.length);
      // What is wrong with it is told when it is wanted.
      if (!next || next->kind != run.kind) break;
      if (run.kind == Run::Kind::kData && next->offset != run.offset + run.length) break;
      run.length += next->length;
    }
    run.length = std::min(run.length, limit);
    return run;
  }

  // The run has where the grain is in the file.
  Result<void> read_packed(const Run& run, uint64_t offset, std::span<std::byte> out) override {
    const uint64_t size = grains_.grain_bytes();
    const uint64_t start = round_down(offset, size);
    PackedGrain grain;
    grain.file = file_.get();
    grain.offset = run.offset;
    grain.sector = start / kSectorSize;
    grain.size = size;
    grain.used = std::min(size, grains_.capacity * kSectorSize - start);
    grain.marker = grains_.markers;
    return tools_->inflater.read(grain, offset - start, out);
  }

 private:
  // That the copy of the directory has no table either: a directory that was lost is all zeros.
  Result<void> check_absent(TableCache::Cursor& cursor, uint64_t index) const {
    if (grains_.copy == 0) return {};
    SNAP_ASSIGN(const auto table, cursor.le<uint32_t>(grains_.copy * kSectorSize + 4 * index));
    if (table == 0) return {};
    return in_file(broken(fmt::format("its grain directory has no table {}, but the copy of the "
                                      "directory does: what was in it is lost",
                                      index)),
                   *file_);
  }

  // What is at `offset`, up to the end of its grain. `table`: the sector of the grain table.
  Result<Run> grain_at(TableCache::Cursor& cursor, uint64_t table, uint64_t offset) {
    const uint64_t size = grains_.grain_bytes();
    const uint64_t index = offset / size % grains_.table_entries;
    SNAP_ASSIGN(const auto entry, cursor.le<uint32_t>(table * kSectorSize + 4 * index));
    Run run;
    run.length = size - offset % size;
    if (entry == 1 && grains_.zero_grains) return run;
    if (entry == 0) {
      run.kind = Run::Kind::kParent;
      return run;
    }
    if (entry < grains_.first_sector) return impossible("grain table", entry);
    run.kind = grains_.compressed ? Run::Kind::kPacked : Run::Kind::kData;
    run.file = file_.get();
    run.offset = entry * kSectorSize + (grains_.compressed ? 0 : offset % size);
    return run;
  }

  Error impossible(std::string_view table, uint32_t entry) const {
    return in_file(broken(fmt::format("sector {} in a {} is impossible", entry, table)), *file_);
  }

  std::shared_ptr<File> file_;
  GrainMap grains_;
  std::shared_ptr<GrainTools> tools_;
};

// Reads the bytes of zlib's format of a grain.
Result<void> read_zlib(const PackedGrain& grain, RawBytes& out) {
  File& file = *grain.file;
  std::array<std::byte, kGrainMarkerBytes> head{};
  const auto read = std::span(head).subspan(grain.marker ? 0 : 8);
  if (grain.offset > file.size() || read.size() > file.size() - grain.offset) {
    return broken(fmt::format("the file ends at byte {}", file.size()));
  }
  SNAP_TRY(file.read_at(grain.offset, read));
  const auto sector = load_le<uint64_t>(head.data());
  if (grain.marker && sector != grain.sector) {
    return broken(fmt::format("it is for sector {}, not {}", sector, grain.sector));
  }
  const uint64_t length = load_le<uint32_t>(head.data() + 8);
  if (length > 2 * grain.size + 64 * kKiB) {
    return broken(fmt::format("its {} bytes are too many", length));
  }
  const uint64_t start = grain.offset + read.size();
  if (length > file.size() - start) {
    return broken(fmt::format("the file ends at byte {}", file.size()));
  }
  out.resize(length);
  return file.read_at(start, out);
}

}  // namespace

Result<SparseFile> read_sparse_file(File& file) {
  std::array<std::byte, 4> magic{};
  const auto head = std::span(magic).first(std::min<uint64_t>(magic.size(), file.size()));
  SNAP_TRY(file.read_at(0, head));
  if (!has_cowd_magic(head) && !has_sparse_magic(head)) {
    return in_file(broken("it is no sparse file of VMDK: the magic is missing"), file);
  }
  auto sparse = has_cowd_magic(head) ? read_cowd(file) : read_hosted(file);
  if (sparse) return sparse;
  return in_file(std::move(sparse).error(), file);
}

std::shared_ptr<TableCache> TablePool::of(File& file) {
  const std::lock_guard lock(mutex_);
  ++clock_;
  Slot* oldest = slots_.data();
  for (Slot& slot : slots_) {
    if (slot.file == &file) {
      slot.used = clock_;
      return slot.tables;
    }
    if (slot.used < oldest->used) oldest = &slot;
  }
  *oldest = {&file, clock_, std::make_shared<TableCache>(file)};
  return oldest->tables;
}

Result<void> GrainInflater::inflate(const PackedGrain& grain, std::span<std::byte> content) {
  auto tool = tools_.take([] { return std::make_unique<Tool>(); });
  SNAP_TRY(read_zlib(grain, tool->packed));
  SNAP_ASSIGN(const ZlibParts parts, parse_zlib(tool->packed));
  // The last grain has all its bytes, or those that are used.
  auto done = tool->inflater.inflate_first(parts.stream, content);
  if (!done && grain.used < content.size()) {
    content = content.first(grain.used);
    done = tool->inflater.inflate_first(parts.stream, content);
  }
  if (!done) return done;
  if (adler32(content) != parts.sum) return broken("its checksum is wrong");
  return {};
}

Result<void> GrainInflater::read(const PackedGrain& grain, uint64_t within,
                                 std::span<std::byte> out) {
  const auto inflate_named = [&](std::span<std::byte> content) -> Result<void> {
    auto done = inflate(grain, content);
    if (done) return {};
    return in_file(std::move(done).error().with_context(
                       fmt::format("the compressed grain at byte {}", grain.offset)),
                   *grain.file);
  };
  if (out.size() == grain.size) return inflate_named(out);
  std::shared_ptr<const RawBytes> content;
  {
    const std::lock_guard lock(mutex_);
    const bool same = recent_file_ == grain.file && recent_offset_ == grain.offset &&
                      recent_sector_ == grain.sector;
    if (same) content = recent_;
  }
  if (content == nullptr) {
    const auto made = std::make_shared<RawBytes>(grain.size);
    SNAP_TRY(inflate_named(*made));
    content = made;
    const std::lock_guard lock(mutex_);
    recent_ = made;
    recent_file_ = grain.file;
    recent_offset_ = grain.offset;
    recent_sector_ = grain.sector;
  }
  std::memcpy(out.data(), content->data() + within, out.size());
  return {};
}

std::unique_ptr<Part> make_grain_part(std::shared_ptr<File> file, const GrainMap& grains,
                                      std::shared_ptr<GrainTools> tools) {
  return std::make_unique<GrainPart>(std::move(file), grains, std::move(tools));
}

}  // namespace snaptool::vmdk
