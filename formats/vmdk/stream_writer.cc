// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "formats/common/zlib_format.h"
#include "formats/vmdk/new_image.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/deflate.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/idle_pool.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::vmdk {
namespace {

constexpr uint64_t kPieceGrains = 4;
constexpr int kWindowBits = 15;  // zlib's most
// What deflate cannot make smaller grows by an eighth at most.
constexpr size_t kMostPacked = kNewGrain + kNewGrain / 4;
constexpr uint64_t kOverhead = kNewGrain / kSectorSize;  // sectors before the first grain

// A grain with what goes before and behind it. Returns its size, whole sectors.
size_t pack_grain(Deflater& deflater, std::span<const std::byte> grain, uint64_t sector,
                  std::span<std::byte> out) {
  const auto zlib = out.subspan(kGrainMarkerBytes);
  encode_zlib_header(zlib);
  const auto room = zlib.subspan(kZlibHeaderBytes);
  const auto deflated = deflater.deflate(grain, room.first(room.size() - kZlibTrailerBytes));
  SNAP_CHECK(deflated.has_value());
  store_be(room.data() + *deflated, adler32(grain));
  const size_t length = kZlibHeaderBytes + *deflated + kZlibTrailerBytes;
  store_le(out.data(), sector);
  store_le(out.data() + 8, static_cast<uint32_t>(length));
  const size_t end = kGrainMarkerBytes + length;
  const size_t size = div_round_up(end, kSectorSize) * kSectorSize;
  std::fill_n(out.begin() + static_cast<ptrdiff_t>(end), size - end, std::byte{0});
  return size;
}

class StreamWriter : public access::ImageWriter {
 public:
  StreamWriter(ByteSink sink, NewDescriptor descriptor, std::function<Result<void>()> finished)
      : sink_(std::move(sink)),
        descriptor_(std::move(descriptor)),
        finished_(std::move(finished)),
        table_(kNewTableBytes),
        directory_(div_round_up(descriptor_.sectors, kNewTableEntries * kOverhead)) {}

  uint64_t unit_size() const override { return kNewGrain; }
  uint64_t piece_size() const override { return kPieceGrains * kNewGrain; }

  Result<void> prepare(access::WritePiece& piece) override {
    auto deflater = deflaters_.take([] { return std::make_unique<Deflater>(kWindowBits); });
    piece.sizes.assign(piece.units.size(), 0);
    piece.packed.resize(kPieceGrains * kMostPacked);
    auto rest = std::span(piece.packed);
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      const uint64_t at = i * kNewGrain;
      piece.sizes[i] = pack_grain(*deflater, {piece.data.data() + at, kNewGrain},
                                  (piece.offset + at) / kSectorSize, rest.first(kMostPacked));
      rest = rest.subspan(piece.sizes[i]);
    }
    return {};
  }

  Result<void> place(access::WritePiece& piece) override {
    SNAP_TRY(begin());
    auto rest = std::span<const std::byte>(piece.packed);
    for (size_t i = 0; i < piece.units.size(); ++i) {
      const size_t size = piece.sizes[i];
      if (size == 0) continue;
      SNAP_TRY(set_entry(piece.offset / kNewGrain + i));
      SNAP_TRY(add(rest.first(size)));
      rest = rest.subspan(size);
    }
    return {};
  }

  Result<void> write(access::WritePiece& /*piece*/) override { return {}; }

  Result<void> finish() override {
    SNAP_TRY(begin());
    SNAP_TRY(end_table());
    SparseHeader footer = header();
    SNAP_ASSIGN(footer.directory, add_directory());
    SNAP_TRY(add(encode_marker(Marker::kFooter, 1)));
    SNAP_TRY(add(encode_sparse_header(footer)));
    SNAP_TRY(add(encode_marker(Marker::kEnd, 0)));
    return finished_();
  }

 private:
  SparseHeader header() const {
    SparseHeader header;
    header.version = 3;
    header.flags = kNewlinesFlag | kCompressedFlag | kMarkersFlag;
    header.capacity = descriptor_.sectors;
    header.descriptor = 1;
    header.descriptor_sectors = kNewDescriptorSectors;
    header.directory = kDirectoryAtEnd;
    header.overhead = kOverhead;
    header.compression = 1;
    return header;
  }

  // The sink may not be used before the first piece.
  Result<void> begin() {
    if (sectors_ > 0) return {};
    std::vector<std::byte> head = encode_sparse_header(header());
    const std::vector<std::byte> text = encode_descriptor_sectors(descriptor_);
    head.insert(head.end(), text.begin(), text.end());
    head.resize(kOverhead * kSectorSize);
    return add(head);
  }

  // Whole sectors.
  Result<void> add(std::span<const std::byte> bytes) {
    SNAP_TRY(sink_(bytes));
    sectors_ += bytes.size() / kSectorSize;
    return {};
  }

  // The grain is what comes next.
  Result<void> set_entry(uint64_t grain) {
    const uint64_t index = grain / kNewTableEntries;
    if (index != index_) {
      SNAP_TRY(end_table());
      index_ = index;
    }
    SNAP_ASSIGN(const uint32_t sector, sector_number(sectors_));
    store_le(table_.data() + 4 * (grain % kNewTableEntries), sector);
    used_ = true;
    return {};
  }

  // Grains ascend, so nothing more comes into the table.
  Result<void> end_table() {
    if (!used_) return {};
    SNAP_TRY(add(encode_marker(Marker::kTable, kNewTableBytes / kSectorSize)));
    SNAP_ASSIGN(directory_[index_], sector_number(sectors_));
    SNAP_TRY(add(table_));
    std::fill(table_.begin(), table_.end(), std::byte{0});
    used_ = false;
    return {};
  }

  // Returns its sector.
  Result<uint64_t> add_directory() {
    const uint64_t count = std::max<uint64_t>(1, div_round_up(4 * directory_.size(), kSectorSize));
    SNAP_TRY(add(encode_marker(Marker::kDirectory, count)));
    const uint64_t sector = sectors_;
    std::vector<std::byte> bytes(count * kSectorSize);
    for (size_t i = 0; i < directory_.size(); ++i) store_le(bytes.data() + 4 * i, directory_[i]);
    SNAP_TRY(add(bytes));
    return sector;
  }

  ByteSink sink_;
  NewDescriptor descriptor_;
  std::function<Result<void>()> finished_;
  IdlePool<Deflater> deflaters_;
  std::vector<std::byte> table_;     // the grain table that is being filled
  uint64_t index_ = 0;               // of that table
  bool used_ = false;                // it has a grain
  std::vector<uint32_t> directory_;  // the sectors of the tables
  uint64_t sectors_ = 0;             // of what was written
};

}  // namespace

std::unique_ptr<access::ImageWriter> make_stream_writer(ByteSink sink,
                                                        const NewDescriptor& descriptor,
                                                        std::function<Result<void>()> finished) {
  return std::make_unique<StreamWriter>(std::move(sink), descriptor, std::move(finished));
}

}  // namespace snaptool::vmdk
