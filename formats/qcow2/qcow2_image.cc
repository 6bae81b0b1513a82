// SPDX-License-Identifier: Apache-2.0
#include "formats/qcow2/qcow2_image.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "formats/common/table_cache.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/printable.h"
#include "libsnap/base/zstd.h"

namespace snaptool::qcow2 {
namespace {

constexpr uint32_t kMostSnapshots = 65536;  // as QEMU has it
constexpr uint32_t kMostBitmaps = 65535;
// A snapshot's entry has 40 bytes, its id, its name and little more; QEMU allows less.
constexpr uint64_t kMostTableBytes = 16 * kMiB;

Error in_file(Error error, const File& file) {
  return std::move(error).with_context(fmt::format("'{}'", file.name()));
}

Result<Header> read_header(File& file) {
  std::array<std::byte, 24> start{};
  if (file.size() < start.size()) return Error(ErrorCode::kCorruption, "the header is cut off");
  SNAP_TRY(file.read_at(0, start));
  if (!has_magic(start)) {
    return Error(ErrorCode::kCorruption, "it is no qcow2 image: the magic is missing");
  }
  SNAP_ASSIGN(const uint64_t wanted, header_bytes(start));
  std::vector<std::byte> first(std::min(wanted, file.size()));
  SNAP_TRY(file.read_at(0, first));
  return parse_header(first);
}

// Visits the snapshots within the image until told that it is enough.
Result<void> for_each_snapshot(File& file, const Header& header,
                               const std::function<bool(const SnapshotEntry&)>& visit) {
  if (header.snapshots == 0) return {};
  if (header.snapshots > kMostSnapshots || header.snapshots_offset > file.size()) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("its table of {} snapshots at byte {} is impossible", header.snapshots,
                             header.snapshots_offset));
  }
  // Nobody says how long it is.
  std::vector<std::byte> table(std::min(kMostTableBytes, file.size() - header.snapshots_offset));
  SNAP_TRY(file.read_at(header.snapshots_offset, table));
  std::span<const std::byte> rest(table);
  for (uint32_t i = 0; i < header.snapshots; ++i) {
    const auto entry = take_snapshot(rest, header.size);
    if (!entry) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("snapshot {} of {} is not all there", i + 1, header.snapshots));
    }
    if (!visit(*entry)) return {};
  }
  return {};
}

Result<std::vector<BitmapEntry>> read_bitmaps(File& file, const Header& header) {
  if (header.bitmaps == 0) return std::vector<BitmapEntry>();
  const uint64_t size = header.bitmap_directory_size;
  const uint64_t offset = header.bitmap_directory_offset;
  if (header.bitmaps > kMostBitmaps || size > kMostTableBytes || offset > file.size() ||
      size > file.size() - offset) {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("its directory of bitmaps, {} bytes at byte {}, is impossible", size, offset));
  }
  std::vector<std::byte> directory(size);
  SNAP_TRY(file.read_at(offset, directory));
  return parse_bitmaps(directory, header.bitmaps);
}

// Decompresses clusters, one at a time.
class Decompressor {
 public:
  Result<void> decompress(Compression compression, std::span<const std::byte> data,
                          std::span<std::byte> cluster) {
    return compression == Compression::kZstd ? zstd_.decompress_first(data, cluster)
                                             : inflater_.inflate_first(data, cluster);
  }
  // For the compressed bytes.
  RawBytes& buffer() { return buffer_; }

 private:
  Inflater inflater_;
  ZstdDecompressor zstd_;
  RawBytes buffer_;
};

class Qcow2Image : public Image {
 public:
  Qcow2Image(std::shared_ptr<File> file, Header header, std::shared_ptr<Image> parent,
             std::function<void(const std::string&)> warn)
      : warn_(std::move(warn)),
        file_(std::move(file)),
        header_(std::move(header)),
        parent_(std::move(parent)),
        tables_(*file_) {}

  const std::string& name() const override { return file_->name(); }
  uint64_t size() const override { return header_.size; }

  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    SNAP_CHECK(offset <= size() && out.size() <= size() - offset);
    while (!out.empty()) {
      SNAP_ASSIGN(const Run run, run_at(offset, out.size()));
      const auto piece = out.first(run.length);
      SNAP_TRY(read_run(run, offset, piece));
      offset += piece.size();
      out = out.subspan(piece.size());
    }
    return {};
  }

  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_CHECK(offset < size() && limit > 0);
    SNAP_ASSIGN(const Run run, run_at(offset, std::min(limit, size() - offset)));
    Extent extent{run.length, true, 0, file_.get(), std::nullopt};
    switch (run.mapping.kind) {
      case Mapping::Kind::kZero:
        break;
      case Mapping::Kind::kUnallocated: {
        if (parent_ == nullptr || offset >= parent_->size()) break;
        const uint64_t most = std::min(run.length, parent_->size() - offset);
        SNAP_ASSIGN(extent, parent_->extent_at(offset, most));
        ++extent.depth;
        break;
      }
      case Mapping::Kind::kCompressed:
        extent.zero = false;
        break;
      case Mapping::Kind::kData: {
        extent.file_offset = run.mapping.offset;
        SNAP_ASSIGN(const uint64_t there, bytes_there(run));
        SNAP_ASSIGN(const Extent below, file_->extent_at(run.mapping.offset, there));
        extent.zero = below.zero;
        extent.length = below.length == there ? run.length : below.length;
        break;
      }
    }
    return extent;
  }

 private:
  // Bytes of the image whose content lies together.
  struct Run {
    Mapping mapping;  // of its first byte
    uint64_t length = 0;
  };

  Result<Mapping> mapping_at(TableCache::Cursor& tables, uint64_t l2_offset, uint64_t offset) {
    const uint64_t index = offset / header_.cluster_size() % header_.l2_entries();
    const uint64_t at = l2_offset + index * header_.l2_entry_size();
    SNAP_ASSIGN(const uint64_t entry, tables.be<uint64_t>(at));
    uint64_t bitmap = 0;
    if (header_.extended_l2) {
      SNAP_ASSIGN(bitmap, tables.be<uint64_t>(at + 8));
    }
    const uint64_t unit = header_.unit_size();
    auto mapping = decode_l2(header_, entry, bitmap, offset % header_.cluster_size() / unit);
    if (!mapping) return in_file(std::move(mapping).error(), *file_);
    if (mapping->kind == Mapping::Kind::kData) mapping->offset += offset % unit;
    return mapping;
  }

  static bool continues(const Mapping& first, uint64_t length, const Mapping& next) {
    if (first.kind != next.kind || first.kind == Mapping::Kind::kCompressed) return false;
    return first.kind != Mapping::Kind::kData || first.offset + length == next.offset;
  }

  Result<Run> run_at(uint64_t offset, uint64_t limit) {
    TableCache::Cursor tables(tables_);
    const uint64_t l1_index = offset / header_.l1_reach();
    limit = std::min(limit, (l1_index + 1) * header_.l1_reach() - offset);
    SNAP_ASSIGN(const uint64_t l1_entry, tables.be<uint64_t>(header_.l1_offset + 8 * l1_index));
    const auto l2_offset = decode_l1(header_, l1_entry);
    if (!l2_offset) return in_file(l2_offset.error(), *file_);
    if (*l2_offset == 0) return Run{{}, limit};
    Run run;
    SNAP_ASSIGN(run.mapping, mapping_at(tables, *l2_offset, offset));
    const bool compressed = run.mapping.kind == Mapping::Kind::kCompressed;
    const uint64_t unit = compressed ? header_.cluster_size() : header_.unit_size();
    run.length = unit - offset % unit;
    while (run.length < limit) {
      const auto next = mapping_at(tables, *l2_offset, offset + run.length);
      // What is wrong with it is told when it is wanted.
      if (!next || !continues(run.mapping, run.length, *next)) break;
      run.length += unit;
    }
    run.length = std::min(run.length, limit);
    return run;
  }

  // How much of a run of data is in the file: all, or less in its last cluster, whose end may be
  // missing where nobody wrote to it.
  Result<uint64_t> bytes_there(const Run& run) {
    const uint64_t start = run.mapping.offset;
    const uint64_t size = file_->size();
    const uint64_t end = div_round_up(size, header_.cluster_size()) * header_.cluster_size();
    if (start >= size || run.length > end - start) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' ends at byte {}, but a cluster of it is at byte {}",
                               file_->name(), size, start + (start >= size ? 0 : end - start)));
    }
    if (run.length <= size - start) return run.length;
    // QEMU writes whole sectors.
    if (size % kSectorSize != 0) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' was cut: it ends at byte {}, within a cluster of content",
                               file_->name(), size));
    }
    std::call_once(warned_, [&] {
      if (!warn_) return;
      warn_(
          fmt::format("'{}' ends at byte {}, within a cluster of content: what is missing of it "
                      "is read as zeros, as QEMU does",
                      file_->name(), size));
    });
    return size - start;
  }

  Result<void> read_run(const Run& run, uint64_t offset, std::span<std::byte> out) {
    uint64_t there = 0;
    switch (run.mapping.kind) {
      case Mapping::Kind::kZero:
        break;
      case Mapping::Kind::kUnallocated:
        if (parent_ == nullptr || offset >= parent_->size()) break;
        there = std::min<uint64_t>(out.size(), parent_->size() - offset);
        SNAP_TRY(parent_->read_at(offset, out.first(there)));
        break;
      case Mapping::Kind::kCompressed:
        return read_compressed(run.mapping, offset, out);
      case Mapping::Kind::kData: {
        SNAP_ASSIGN(there, bytes_there(run));
        SNAP_TRY(file_->read_at(run.mapping.offset, out.first(there)));
        break;
      }
    }
    std::memset(out.data() + there, 0, out.size() - there);
    return {};
  }

  // `out` lies within one cluster.
  Result<void> read_compressed(const Mapping& mapping, uint64_t offset, std::span<std::byte> out) {
    const uint64_t cluster_size = header_.cluster_size();
    if (out.size() == cluster_size) return decompress(mapping, out);
    const uint64_t cluster = offset / cluster_size;
    std::shared_ptr<const RawBytes> content;
    {
      const std::lock_guard lock(mutex_);
      if (recent_ != nullptr && recent_cluster_ == cluster) content = recent_;
    }
    if (content == nullptr) {
      const auto made = std::make_shared<RawBytes>(cluster_size);
      SNAP_TRY(decompress(mapping, *made));
      content = made;
      const std::lock_guard lock(mutex_);
      recent_ = made;
      recent_cluster_ = cluster;
    }
    std::memcpy(out.data(), content->data() + offset % cluster_size, out.size());
    return {};
  }

  Result<void> decompress(const Mapping& mapping, std::span<std::byte> cluster) {
    if (mapping.offset >= file_->size()) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}' ends at byte {}, but a compressed cluster of it is at byte {}",
                               file_->name(), file_->size(), mapping.offset));
    }
    auto decompressor = decompressors_.take([] { return std::make_unique<Decompressor>(); });
    RawBytes& data = decompressor->buffer();
    // The last sector of the file may be cut off behind the data.
    data.resize(std::min(mapping.length, file_->size() - mapping.offset));
    SNAP_TRY(file_->read_at(mapping.offset, data));
    auto done = decompressor->decompress(header_.compression, data, cluster);
    if (done) return {};
    return std::move(done).error().with_context(
        fmt::format("'{}': the compressed cluster at byte {}", file_->name(), mapping.offset));
  }

  std::function<void(const std::string&)> warn_;
  std::once_flag warned_;
  std::shared_ptr<File> file_;
  Header header_;
  std::shared_ptr<Image> parent_;
  TableCache tables_;
  IdlePool<Decompressor> decompressors_;
  std::mutex mutex_;                        // guards what follows
  std::shared_ptr<const RawBytes> recent_;  // a compressed cluster's content
  uint64_t recent_cluster_ = 0;
};

// The header as it was when the snapshot was taken.
Result<Header> header_of_snapshot(File& file, Header header, const std::string& wanted) {
  std::optional<SnapshotEntry> found;
  std::vector<std::string> some;  // enough of the names for a message
  SNAP_TRY(for_each_snapshot(file, header, [&](const SnapshotEntry& entry) {
    if (entry.id == wanted || (entry.name == wanted && !found)) found = entry;
    if (some.size() < 10) some.push_back(excerpt(entry.name));
    return entry.id != wanted;
  }));
  if (!found) {
    return Error(ErrorCode::kNotFound, fmt::format("it has no snapshot '{}', only: {}", wanted,
                                                   excerpt_list({some.begin(), some.end()})));
  }
  header.l1_offset = found->l1_offset;
  header.l1_entries = found->l1_entries;
  header.size = found->size;
  SNAP_TRY(check_l1(header));
  return header;
}

}  // namespace

Result<access::ImageFacts> read_facts(File& file, const Cancel& /*cancel*/) {
  auto header = read_header(file);
  if (!header) return in_file(std::move(header).error(), file);
  access::ImageFacts facts;
  facts.size = header->size;
  facts.corrupt = header->corrupt;
  if (!header->backing_name.empty()) {
    access::ParentRef& parent = facts.parent.emplace();
    parent.name = header->backing_name;
    parent.format = header->backing_format;
  }
  if (header->dirty) {
    facts.warnings.push_back(fmt::format(
        "'{}' was not closed: its refcounts may be wrong, which does not matter to read it",
        file.name()));
  }
  facts.details = {{"compat", std::string(header->version == 2 ? "0.10" : "1.1")},
                   {"cluster_size", header->cluster_size()},
                   {"compression_type",
                    std::string(header->compression == Compression::kZstd ? "zstd" : "zlib")},
                   {"refcount_bits", uint64_t{header->refcount_bits}},
                   {"extended_l2", header->extended_l2},
                   {"lazy_refcounts", header->lazy_refcounts},
                   {"dirty", header->dirty},
                   {"corrupt", header->corrupt}};
  auto listed = for_each_snapshot(file, *header, [&](const SnapshotEntry& entry) {
    facts.snapshots.push_back({entry.id, entry.name, entry.size, entry.seconds});
    return true;
  });
  if (!listed) facts.warnings.push_back(in_file(std::move(listed).error(), file).describe());
  auto bitmaps = read_bitmaps(file, *header);
  if (!bitmaps) {
    facts.warnings.push_back(in_file(std::move(bitmaps).error(), file).describe());
    return facts;
  }
  for (const BitmapEntry& entry : *bitmaps) {
    facts.bitmaps.push_back({entry.name, entry.granularity, entry.in_use, entry.automatic});
  }
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  auto header = read_header(*file);
  if (header && options.snapshot) {
    header = header_of_snapshot(*file, *std::move(header), *options.snapshot);
  }
  if (!header) return in_file(std::move(header).error(), *file);
  if (!header->backing_name.empty() && options.parent == nullptr) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' needs its parent '{}'", file->name(), header->backing_name));
  }
  return std::make_unique<Qcow2Image>(std::move(file), *std::move(header), options.parent,
                                      options.warn);
}

}  // namespace snaptool::qcow2
