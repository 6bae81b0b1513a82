// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <bit>

#include "formats/common/early_writeback.h"
#include "formats/common/new_file.h"
#include "formats/common/table_writer.h"
#include "formats/vhdx/vhdx_image.h"
#include "libsnap/base/endian.h"

namespace snaptool::vhdx {
namespace {

constexpr uint64_t kUnit = 64 * kKiB;
constexpr uint64_t kPiece = kMiB;
constexpr Region kLog = {kMiB, kMiB};
constexpr Region kMetadataRegion = {2 * kMiB, kMiB};
constexpr uint64_t kBatAt = 3 * kMiB;

std::vector<std::byte> bat_bytes(const BatEntry& entry) {
  std::vector<std::byte> bytes(8);
  store_le(bytes.data(), encode_entry(entry));
  return bytes;
}

// Writes the table of blocks, front to back, a piece of it in memory. Blocks that are not set are
// zeros. Behind each chunk's entries is that of its bits, which only differencing images have.
class BatWriter {
 public:
  // Requires: the image has blocks.
  BatWriter(File& file, const Metadata& metadata)
      : metadata_(metadata), table_(file, kBatAt, bat_bytes({BlockState::kZero, 0})) {}

  Result<void> set(uint64_t block, uint64_t offset) {
    SNAP_TRY(pass_chunks(block / metadata_.chunk_ratio()));
    return table_.set(metadata_.entry_of(block), bat_bytes({BlockState::kPresent, offset}));
  }

  Result<void> finish() {
    SNAP_TRY(pass_chunks((metadata_.blocks() - 1) / metadata_.chunk_ratio()));
    return table_.finish(metadata_.entries());
  }

 private:
  // The entries of the bits of all chunks before this one.
  Result<void> pass_chunks(uint64_t end) {
    for (; chunk_ < end; ++chunk_) {
      SNAP_TRY(table_.set(metadata_.bits_entry_of(chunk_), bat_bytes({})));
    }
    return {};
  }

  const Metadata& metadata_;
  TableWriter table_;
  uint64_t chunk_ = 0;  // the first one whose bits have no entry yet
};

class VhdxWriter : public access::ImageWriter {
 public:
  VhdxWriter(File& file, const Metadata& metadata, access::Before before)
      : file_(file),
        metadata_(metadata),
        in_place_(before != access::Before::kZeros),
        bat_(file, metadata_),
        writeback_(file) {
    bat_region_ = {kBatAt, div_round_up(8 * metadata.entries(), kAlign) * kAlign};
    written_ = end_ = blocks_at();
    if (metadata_.fixed) end_ += metadata_.blocks() * metadata_.block_size;
  }

  // Makes room; of what was there, no table is left.
  Result<void> begin() override {
    SNAP_TRY(grow_new_file(file_, end_));
    if (in_place_) {
      SNAP_TRY(file_.zero_at(0, blocks_at(), ZeroMode::kKeep));
      SNAP_TRY(file_.flush());
    }
    if (metadata_.fixed) SNAP_TRY(file_.reserve(blocks_at(), end_ - blocks_at()));
    return {};
  }

  uint64_t unit_size() const override { return kUnit; }
  uint64_t piece_size() const override { return kPiece; }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      const uint64_t offset = piece.offset + i * kUnit;
      SNAP_ASSIGN(uint64_t at, place_of(offset / metadata_.block_size));
      at += offset % metadata_.block_size;
      SNAP_TRY(zero_up_to(at));
      piece.add_extent(at, {piece.data.data() + i * kUnit, kUnit});
      written_ = at + kUnit;
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    for (uint64_t block = 0; metadata_.fixed && block < metadata_.blocks(); ++block) {
      SNAP_TRY(bat_.set(block, blocks_at() + block * metadata_.block_size));
    }
    SNAP_TRY(zero_up_to(end_));
    SNAP_TRY(bat_.finish());
    SNAP_TRY(cut_new_file(file_, end_));
    SNAP_TRY(file_.write_at(kMetadataRegion.offset, encode_metadata(metadata_)));
    const auto regions = encode_regions({bat_region_, kMetadataRegion});
    for (const uint64_t place : kRegionTablesAt) SNAP_TRY(file_.write_at(place, regions));
    SNAP_TRY(file_.write_at(0, encode_start()));
    // Without a header, it is no image; with one, all is there.
    if (in_place_) SNAP_TRY(file_.flush());
    return write_headers();
  }

 private:
  uint64_t blocks_at() const { return bat_region_.offset + bat_region_.length; }

  // Where the block is in the file. Blocks ascend, and the last one may come again.
  Result<uint64_t> place_of(uint64_t block) {
    if (metadata_.fixed) return blocks_at() + block * metadata_.block_size;
    if (!block_ || *block_ != block) {
      block_ = block;
      block_at_ = end_;
      end_ += metadata_.block_size;
      SNAP_TRY(grow_new_file(file_, end_));
      SNAP_TRY(bat_.set(block, block_at_));
    }
    return block_at_;
  }

  // Data ascend in the file, too. What is between them has to be zeros.
  Result<void> zero_up_to(uint64_t at) {
    if (!in_place_ || at == written_) return {};
    return file_.zero_at(written_, at - written_, ZeroMode::kKeep);
  }

  Result<void> write_headers() {
    Header header;
    header.file_write = random_uuid(UuidOrder::kGuid);
    header.data_write = random_uuid(UuidOrder::kGuid);
    header.log_offset = kLog.offset;
    header.log_length = kLog.length;
    for (const uint64_t place : kHeadersAt) {
      ++header.sequence;
      SNAP_TRY(file_.write_at(place, encode_header(header)));
    }
    return {};
  }

  File& file_;
  Metadata metadata_;
  bool in_place_;
  BatWriter bat_;
  EarlyWriteback writeback_;
  Region bat_region_;
  uint64_t end_ = 0;               // of the file's blocks
  uint64_t written_ = 0;           // of what was placed, in the file
  std::optional<uint64_t> block_;  // the last one of a dynamic image, and where it is
  uint64_t block_at_ = 0;
};

Error bad_setting(const std::string& name, const std::string& value, std::string_view wanted) {
  return {ErrorCode::kInvalidArgument, fmt::format("{}={}: {} is wanted", name, value, wanted)};
}

Result<Metadata> metadata_for(const access::CreateOptions& options) {
  Metadata metadata;
  metadata.size = options.size;
  metadata.disk_id = random_uuid(UuidOrder::kGuid);
  for (const auto& [name, value] : options.settings) {
    if (name == "subformat") {
      if (value != "dynamic" && value != "fixed") {
        return bad_setting(name, value, "dynamic or fixed");
      }
      metadata.fixed = value == "fixed";
    } else if (name == "block_size") {
      metadata.block_size = parse_size(value).value_or(0);
      if (!std::has_single_bit(metadata.block_size) || metadata.block_size < kLeastBlock ||
          metadata.block_size > kMostBlock) {
        return bad_setting(name, value, "a power of 2 from 1M to 256M");
      }
    }
  }
  if (metadata.size == 0) {
    return Error(ErrorCode::kUnsupported, "a VHDX image of 0 bytes is not made: none reads it");
  }
  if (metadata.size > kMostSize) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than the 64 TiB of a VHDX image", metadata.size));
  }
  return metadata;
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  SNAP_ASSIGN(const Metadata metadata, metadata_for(options));
  return std::make_unique<VhdxWriter>(file, metadata, options.before);
}

}  // namespace snaptool::vhdx
