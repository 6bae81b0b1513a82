// SPDX-License-Identifier: Apache-2.0
#include "formats/qcow2/qcow2_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/common/early_writeback.h"
#include "formats/qcow2/allocator.h"
#include "formats/qcow2/bitmap_writer.h"
#include "formats/qcow2/layout.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/zstd.h"

namespace snaptool::qcow2 {
namespace {

constexpr uint64_t kLeastPiece = 256 * kKiB;

// Compresses clusters, one at a time.
class Compressor {
 public:
  explicit Compressor(Compression compression) : compression_(compression) {}

  // Returns the length, or nothing when it does not fit.
  std::optional<size_t> compress(std::span<const std::byte> data, std::span<std::byte> out) {
    return compression_ == Compression::kZstd ? zstd_.compress(data, out)
                                              : deflater_.deflate(data, out);
  }

 private:
  Compression compression_;
  ZstdCompressor zstd_{kDefaultZstdLevel, false};
  Deflater deflater_;
};

class Qcow2Writer : public access::ImageWriter {
 public:
  Qcow2Writer(File& file, Header header, const access::CreateOptions& options)
      : file_(file),
        header_(std::move(header)),
        compress_(options.compress),
        in_place_(options.before != access::Before::kZeros),
        writeback_(file),
        allocator_(file, header_.cluster_bits),
        l1_(header_.l1_entries),
        l2_(header_.cluster_size()) {}

  // Before anything is written. Requires: the header counts it.
  Result<void> set_bitmap(const std::string& name, unsigned granularity_bits) {
    SNAP_ASSIGN(bitmap_, BitmapWriter::create(file_, allocator_, header_.cluster_bits, name,
                                              granularity_bits, header_.size));
    return {};
  }

  uint64_t unit_size() const override { return header_.unit_size(); }
  uint64_t mark_size() const override { return bitmap_ ? bitmap_->granularity() : 0; }
  uint64_t piece_size() const override { return std::max(kLeastPiece, header_.cluster_size()); }

  Result<void> prepare(access::WritePiece& piece) override {
    if (!compress_) return {};
    auto compressor =
        compressors_.take([this] { return std::make_unique<Compressor>(header_.compression); });
    const uint64_t unit = unit_size();
    piece.sizes.assign(piece.units.size(), 0);
    piece.packed.resize(piece_size());
    size_t used = 0;
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      // What is no smaller is stored as it is.
      const auto size = compressor->compress({piece.data.data() + i * unit, unit},
                                             std::span(piece.packed).subspan(used, unit - 1));
      piece.sizes[i] = size.value_or(0);
      used += piece.sizes[i];
    }
    return {};
  }

  Result<void> place(access::WritePiece& piece) override {
    packed_ = 0;
    const uint64_t in_cluster = header_.extended_l2 ? kSubclusters : 1;
    for (size_t i = 0; i < piece.units.size(); i += in_cluster) {
      SNAP_TRY(header_.extended_l2 ? place_subclusters(piece, i) : place_cluster(piece, i));
    }
    for (size_t i = 0; i < piece.marks.size(); ++i) {
      if (piece.marks[i]) SNAP_TRY(bitmap_->set(piece.offset + i * mark_size()));
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    SNAP_TRY(end_l2());
    SNAP_TRY(write_l1());
    if (bitmap_) {
      SNAP_ASSIGN(const BitmapWriter::Directory directory, bitmap_->finish());
      header_.bitmap_directory_offset = directory.offset;
      header_.bitmap_directory_size = directory.size;
    }
    SNAP_ASSIGN(const Allocator::Table refcounts, allocator_.finish());
    // Without a header, it is no image; with it, all is there.
    if (in_place_) SNAP_TRY(file_.flush());
    return file_.write_at(0, encode_header(header_, refcounts.offset, refcounts.clusters));
  }

 private:
  Result<void> write_l1() {
    if (l1_.empty()) return {};
    const uint64_t clusters = div_round_up(8 * l1_.size(), header_.cluster_size());
    SNAP_ASSIGN(header_.l1_offset, allocator_.take_clusters(clusters));
    RawBytes table(clusters * header_.cluster_size());
    std::fill(table.begin(), table.end(), std::byte{0});
    for (size_t i = 0; i < l1_.size(); ++i) store_be(table.data() + 8 * i, l1_[i]);
    return file_.write_at(header_.l1_offset, table);
  }

  Result<void> place_cluster(access::WritePiece& piece, size_t i) {
    const uint64_t guest = piece.offset + i * header_.cluster_size();
    switch (piece.units[i]) {
      case access::UnitKind::kAbsent:
        return {};
      case access::UnitKind::kZero:
        return header_.backing_name.empty() ? Result<void>() : set_entry(guest, kZeroFlag, 0);
      case access::UnitKind::kData:
        break;
    }
    if (compress_ && piece.sizes[i] > 0) return place_compressed(piece, i, guest);
    SNAP_ASSIGN(const uint64_t host, allocator_.take_clusters(1));
    piece.add_extent(host,
                     {piece.data.data() + i * header_.cluster_size(), header_.cluster_size()});
    return set_entry(guest, host | kCopiedFlag, 0);
  }

  Result<void> place_compressed(access::WritePiece& piece, size_t i, uint64_t guest) {
    const size_t size = piece.sizes[i];
    SNAP_ASSIGN(const uint64_t host, allocator_.take_bytes(size));
    piece.add_extent(host, std::span(piece.packed).subspan(packed_, size));
    packed_ += size;
    return set_entry(guest, encode_compressed(header_, host, size), 0);
  }

  // The subclusters of a cluster, from unit `first` on.
  Result<void> place_subclusters(access::WritePiece& piece, size_t first) {
    uint64_t bitmap = 0;
    const size_t count = std::min<size_t>(kSubclusters, piece.units.size() - first);
    for (size_t k = 0; k < count; ++k) {
      if (piece.units[first + k] == access::UnitKind::kData) bitmap |= uint64_t{1} << k;
      if (piece.units[first + k] == access::UnitKind::kZero && !header_.backing_name.empty()) {
        bitmap |= uint64_t{1} << (32 + k);
      }
    }
    if (bitmap == 0) return {};
    uint64_t host = 0;
    if ((bitmap & UINT32_MAX) != 0) {
      SNAP_ASSIGN(host, allocator_.take_clusters(1));
    }
    for (size_t k = 0; k < count; ++k) {
      if ((bitmap >> k & 1U) == 0) continue;
      piece.add_extent(host + k * unit_size(),
                       {piece.data.data() + (first + k) * unit_size(), unit_size()});
    }
    return set_entry(piece.offset + first * unit_size(), host == 0 ? 0 : host | kCopiedFlag,
                     bitmap);
  }

  Result<void> set_entry(uint64_t guest, uint64_t entry, uint64_t bitmap) {
    const uint64_t index = guest / header_.l1_reach();
    if (!l2_index_ || *l2_index_ != index) {
      SNAP_TRY(end_l2());
      l2_index_ = index;
      std::fill(l2_.begin(), l2_.end(), std::byte{0});
    }
    std::byte* const at =
        l2_.data() + guest % header_.l1_reach() / header_.cluster_size() * header_.l2_entry_size();
    store_be(at, entry);
    if (header_.extended_l2) store_be(at + 8, bitmap);
    return {};
  }

  // Clusters ascend, so nothing more comes into the table.
  Result<void> end_l2() {
    if (!l2_index_) return {};
    SNAP_ASSIGN(const uint64_t host, allocator_.take_clusters(1));
    SNAP_TRY(file_.write_at(host, l2_));
    l1_[*l2_index_] = host | kCopiedFlag;
    l2_index_.reset();
    return {};
  }

  File& file_;
  Header header_;
  bool compress_;
  bool in_place_;
  EarlyWriteback writeback_;
  IdlePool<Compressor> compressors_;
  Allocator allocator_;
  std::unique_ptr<BitmapWriter> bitmap_;
  std::vector<uint64_t> l1_;
  RawBytes l2_;                       // the table that is being filled
  std::optional<uint64_t> l2_index_;  // its place in the L1 table
  size_t packed_ = 0;                 // bytes of a piece's compressed data that are placed
};

Error bad_setting(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

Result<bool> switch_of(std::string_view name, const std::string& value) {
  if (value == "on" || value == "off") return value == "on";
  return bad_setting(fmt::format("{}={}: on or off is wanted", name, value));
}

// A power of 2 from 1 << least to 1 << most; returns its logarithm.
Result<unsigned> power_of(std::string_view name, const std::string& value, unsigned least,
                          unsigned most) {
  const uint64_t size = parse_size(value).value_or(0);
  if (std::has_single_bit(size) && size >= uint64_t{1} << least && size <= uint64_t{1} << most) {
    return static_cast<unsigned>(std::countr_zero(size));
  }
  return bad_setting(fmt::format("{}={}: a power of 2 from {} to {} is wanted", name, value,
                                 format_size(uint64_t{1} << least),
                                 format_size(uint64_t{1} << most)));
}

Result<Header> header_for(const access::CreateOptions& options) {
  Header header;
  header.size = options.size;
  header.compression = options.compress ? Compression::kZstd : Compression::kZlib;
  for (const auto& [name, value] : options.settings) {
    if (name == "cluster_size") {
      SNAP_ASSIGN(header.cluster_bits, power_of(name, value, kLeastClusterBits, kMostClusterBits));
    } else if (name == "compression_type") {
      if (value != "zlib" && value != "zstd") {
        return bad_setting(fmt::format("compression_type={}: zlib or zstd is wanted", value));
      }
      header.compression = value == "zstd" ? Compression::kZstd : Compression::kZlib;
    } else if (name == "extended_l2") {
      SNAP_ASSIGN(header.extended_l2, switch_of(name, value));
    }
  }
  if (header.extended_l2 && options.compress) {
    return bad_setting(
        "extended_l2 and compression do not go together: a cluster is compressed as a whole");
  }
  if (header.extended_l2 && header.cluster_bits < kLeastExtendedBits) {
    return bad_setting("extended_l2 wants a cluster_size of 16k or more");
  }
  if (options.parent) {
    header.backing_name = options.parent->name;
    header.backing_format = options.parent->format;
  }
  header.l1_entries = div_round_up(header.size, header.l1_reach());
  if (header.l1_entries > kMostL1Bytes / 8) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("an image of {} bytes needs larger clusters than {}", header.size,
                             header.cluster_size()));
  }
  return header;
}

struct BitmapWish {
  std::string name;
  unsigned granularity_bits = 12;
};

Result<std::optional<BitmapWish>> bitmap_for(const access::CreateOptions& options) {
  constexpr size_t kMostName = 1023;  // QEMU's
  const auto name = options.settings.find("bitmap");
  const auto granularity = options.settings.find("bitmap_granularity");
  if (name == options.settings.end()) {
    if (granularity == options.settings.end()) return std::nullopt;
    return bad_setting("bitmap_granularity is of a bitmap: bitmap=NAME makes one");
  }
  if (name->second.empty() || name->second.size() > kMostName) {
    return bad_setting("bitmap: a name of 1 to 1023 bytes is wanted");
  }
  if (!options.parent) {
    return bad_setting("bitmap marks what is not as in the base, and none is named")
        .with_remedy(Remedy::kNameOrigin);
  }
  BitmapWish wish;
  wish.name = name->second;
  if (granularity != options.settings.end()) {
    SNAP_ASSIGN(wish.granularity_bits, power_of(granularity->first, granularity->second,
                                                kLeastGranularityBits, kMostGranularityBits));
  }
  return std::optional(std::move(wish));
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  SNAP_CHECK(options.size % kSectorSize == 0);
  SNAP_ASSIGN(Header header, header_for(options));
  SNAP_ASSIGN(const auto bitmap, bitmap_for(options));
  header.bitmaps = bitmap ? 1 : 0;
  // That it fits is found out before anything is written.
  SNAP_TRY(check_encodes(header));
  auto writer = std::make_unique<Qcow2Writer>(file, std::move(header), options);
  if (bitmap) SNAP_TRY(writer->set_bitmap(bitmap->name, bitmap->granularity_bits));
  return writer;
}

}  // namespace snaptool::qcow2
