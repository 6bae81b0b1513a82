// SPDX-License-Identifier: Apache-2.0
#include "formats/dm_snapshot/store_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "formats/common/early_writeback.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/snap/store/create.h"
#include "libsnap/snap/store/list_writer.h"
#include "libsnap/snap/view/snapshot_image.h"

namespace snaptool::dm_snapshot {
namespace {

constexpr uint64_t kLeastPiece = 256 * kKiB;
constexpr uint64_t kLeastGrowth = kMiB;
constexpr uint64_t kMostGrowth = 64 * kMiB;
constexpr uint64_t kDefaultChunk = 4 * kKiB;
constexpr uint64_t kMostChunk = 2 * kMiB;  // a few of them are in memory

class StoreWriter : public access::ImageWriter {
 public:
  StoreWriter(File& file, const Layout& layout, bool in_place)
      : file_(file),
        layout_(layout),
        zeroed_(!in_place),
        list_(file, layout, zeroed_),
        writeback_(file) {}

  uint64_t unit_size() const override { return layout_.chunk_bytes(); }
  uint64_t piece_size() const override { return std::max(kLeastPiece, layout_.chunk_bytes()); }

  Result<void> place(access::WritePiece& piece) override {
    if (!begun_) SNAP_TRY(list_.begin());
    begun_ = true;
    entries_.clear();
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] == access::UnitKind::kAbsent) continue;
      while (layout_.is_metadata(next_free_)) ++next_free_;
      const uint64_t chunk = next_free_++;
      entries_.push_back({piece.offset / unit_size() + i, chunk});
      const auto offset = layout_.chunk_offset(chunk);
      if (!offset) return Error(ErrorCode::kNoSpace, "the store would be larger than any file");
      // Zeros are a chunk of zeros: the format has no other way to say so.
      if (piece.units[i] == access::UnitKind::kZero && zeroed_) continue;
      piece.add_extent(*offset, {piece.data.data() + i * unit_size(), unit_size()});
    }
    SNAP_TRY(grow());
    return list_.append(entries_);
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    if (!begun_) SNAP_TRY(list_.begin());
    SNAP_ASSIGN(const uint64_t size, store_size_for(layout_, list_.entries()));
    if (zeroed_) SNAP_TRY(file_.resize(size));
    if (file_.size() < size) return no_room(size);
    return list_.finish(
        {kSnapMagic, 1, kSnapshotDiskVersion, static_cast<uint32_t>(layout_.chunk_sectors())});
  }

 private:
  Error no_room(uint64_t size) const {
    return {ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes, but the store needs {}",
                                             file_.name(), file_.size(), size)};
  }

  // So that it has what was placed, and the areas for it.
  Result<void> grow() {
    SNAP_ASSIGN(const uint64_t size, store_size_for(layout_, list_.entries() + entries_.size()));
    if (size <= file_.size()) return {};
    if (!zeroed_) return no_room(size);
    return file_.resize(size + std::clamp(size, kLeastGrowth, kMostGrowth));
  }

  File& file_;
  Layout layout_;
  bool zeroed_;  // a new file
  ListWriter list_;
  EarlyWriteback writeback_;
  bool begun_ = false;
  uint64_t next_free_ = 2;
  std::vector<Exception> entries_;  // of a piece
};

// Keeps what it is over.
class StoreImage : public Image {
 public:
  StoreImage(std::shared_ptr<File> file, std::shared_ptr<Image> parent,
             std::unique_ptr<SnapshotImage> view)
      : file_(std::move(file)), parent_(std::move(parent)), view_(std::move(view)) {}

  const std::string& name() const override { return file_->name(); }
  uint64_t size() const override { return view_->size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return view_->read_at(offset, out);
  }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    return view_->extent_at(offset, limit);
  }

 private:
  std::shared_ptr<File> file_;
  std::shared_ptr<Image> parent_;
  std::unique_ptr<SnapshotImage> view_;
};

Error without_origin() {
  return Error(ErrorCode::kInvalidArgument, "a store goes with its origin, and none is named")
      .with_remedy(Remedy::kNameOrigin);
}

}  // namespace

bool has_magic(std::span<const std::byte> head) {
  return head.size() >= kDiskHeaderSize &&
         decode_header(head.first<kDiskHeaderSize>()).magic == kSnapMagic;
}

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  if (!options.parent) return without_origin();
  uint64_t chunk = kDefaultChunk;
  if (const auto it = options.settings.find("chunk_size"); it != options.settings.end()) {
    chunk = parse_size(it->second).value_or(0);
    if (!std::has_single_bit(chunk) || chunk < kSectorSize || chunk > kMostChunk) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("chunk_size={}: a power of 2 from 512 to 2M is wanted", it->second));
    }
  }
  return std::make_unique<StoreWriter>(file, Layout(chunk / kSectorSize),
                                       options.before != access::Before::kZeros);
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  if (options.parent == nullptr) return without_origin();
  SNAP_ASSIGN(auto view, SnapshotImage::open(*options.parent, *file, SnapshotImage::Damage::kRefuse,
                                             options.cancel));
  return std::make_unique<StoreImage>(std::move(file), options.parent, std::move(view));
}

}  // namespace snaptool::dm_snapshot
