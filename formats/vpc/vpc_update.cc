// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/common/block_update.h"
#include "formats/common/table_cache.h"
#include "formats/vpc/vpc_image.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::vpc {
namespace {

constexpr uint64_t kMostBlocks = uint64_t{4} << 20U;  // 2 TiB in blocks of 512 KiB

// A footer that is right, and where it is at the end of the file; nothing: it is not there, or of
// 511 bytes.
struct FooterPlace {
  std::vector<std::byte> bytes;
  std::optional<uint64_t> offset;
};

// Of an image whose blocks are sought in a table: a dynamic or differencing one. The footer at the
// end of the file is never overwritten but by another: a new block lies beyond it, and has a footer
// beyond it in turn, so that in whatever state a crash leaves the file, its last sector is one, or
// zeros.
class BlocksUpdate : public BlockUpdate {
 public:
  // `uuid`: what the image is known by at last.
  BlocksUpdate(File& file, const Start& start, FooterPlace footer, std::optional<Uuid> uuid)
      : BlockUpdate(file, start.header->block_size),
        header_(*start.header),
        all_own_(start.footer.type == Type::kDynamic),
        footer_(std::move(footer)),
        uuid_(uuid),
        tables_(file) {}

 private:
  Result<std::optional<uint64_t>> find(uint64_t block) override {
    TableCache::Cursor tables(tables_);
    SNAP_ASSIGN(const auto entry, tables.be<uint32_t>(header_.table_offset + 4 * block));
    if (entry == kAbsent) return std::optional<uint64_t>();
    const uint64_t bitmap = entry * kSectorSize;
    bits_.resize(header_.bitmap_bytes());
    SNAP_TRY(file().read_at(bitmap, bits_));
    bitmap_ = bitmap;
    return std::optional(bitmap + header_.bitmap_bytes());
  }

  Result<void> start() override {
    written_ = true;
    if (footer_.offset) return {};
    SNAP_TRY(put_footer(div_round_up(file().size(), kSectorSize) * kSectorSize));
    return file().flush();
  }

  // Makes the file end with it.
  Result<void> put_footer(uint64_t offset) {
    SNAP_TRY(file().resize(offset + kFooterBytes));
    footer_.offset = offset;
    return file().write_at(offset, footer_.bytes);
  }

  Result<uint64_t> append() override {
    const uint64_t end = div_round_up(file().size(), kSectorSize) * kSectorSize;
    const uint64_t place = div_round_up(end + header_.bitmap_bytes(), kAlign) * kAlign;
    if ((place + header_.block_size) / kSectorSize >= kAbsent) {
      return Error(ErrorCode::kNoSpace, fmt::format("'{}' cannot name a block beyond its first "
                                                    "2 TiB",
                                                    file().name()));
    }
    SNAP_TRY(put_footer(place + header_.block_size));
    bitmap_ = place - header_.bitmap_bytes();
    bits_.assign(header_.bitmap_bytes(), all_own_ ? std::byte{0xff} : std::byte{0});
    if (all_own_) SNAP_TRY(file().write_at(bitmap_, bits_));
    return place;
  }

  void take(uint64_t within, uint64_t length) override {
    for (uint64_t at = within; at < within + length; at += kSectorSize) {
      const uint64_t sector = at / kSectorSize;
      const auto bit = static_cast<std::byte>(0x80U >> sector % 8);
      changed_ = changed_ || (bits_[sector / 8] & bit) == std::byte{0};
      bits_[sector / 8] |= bit;
    }
  }

  // The bits may be there before the data are: of sectors that are not named, they say what they
  // did.
  Result<void> leave() override {
    if (!changed_) return {};
    changed_ = false;
    return file().write_at(bitmap_, bits_);
  }

  Result<void> note(uint64_t block, uint64_t place) override {
    std::array<std::byte, 4> entry{};
    store_be(entry.data(), static_cast<uint32_t>((place - header_.bitmap_bytes()) / kSectorSize));
    return file().write_at(header_.table_offset + 4 * block, entry);
  }

  // Each copy is whole at any time, and that at the end counts.
  Result<void> end() override {
    if (!uuid_ && !written_) return {};
    if (!footer_.offset) SNAP_TRY(start());
    footer_.bytes = with_uuid(footer_.bytes, uuid_.value_or(random_uuid(UuidOrder::kNetwork)));
    SNAP_TRY(file().write_at(0, footer_.bytes));
    SNAP_TRY(file().flush());
    SNAP_TRY(file().write_at(*footer_.offset, footer_.bytes));
    return file().flush();
  }

  const Header header_;
  const bool all_own_;  // all sectors of a new block are its own
  FooterPlace footer_;
  const std::optional<Uuid> uuid_;
  TableCache tables_;
  bool written_ = false;
  // Of the block that is written to.
  uint64_t bitmap_ = 0;  // where it is in the file
  std::vector<std::byte> bits_;
  bool changed_ = false;
};

// The image's bytes, and a footer.
class FixedUpdate : public access::ImageWriter {
 public:
  FixedUpdate(File& file, FooterPlace footer, std::optional<Uuid> uuid)
      : file_(file), footer_(std::move(footer)), uuid_(uuid), writeback_(file) {}

  uint64_t unit_size() const override { return kSectorSize; }
  uint64_t piece_size() const override { return kMiB; }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] == access::UnitKind::kAbsent) continue;
      const uint64_t at = i * kSectorSize;
      const uint64_t length = std::min<uint64_t>(kSectorSize, piece.length - at);
      piece.add_extent(piece.offset + at, piece.data.subspan(at, length));
      written_ = true;
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    SNAP_TRY(file_.flush());
    if (!uuid_ && !written_) return {};
    const Uuid uuid = uuid_.value_or(random_uuid(UuidOrder::kNetwork));
    SNAP_TRY(file_.write_at(*footer_.offset, with_uuid(footer_.bytes, uuid)));
    return file_.flush();
  }

 private:
  File& file_;
  const FooterPlace footer_;
  const std::optional<Uuid> uuid_;
  EarlyWriteback writeback_;
  bool written_ = false;
};

// All that the file has, each in a place of its own.
Result<void> check_blocks(File& file, const Start& start, const FooterPlace& footer,
                          const Cancel& cancel) {
  const Header& header = *start.header;
  const uint64_t blocks = div_round_up(start.footer.size, header.block_size);
  if (blocks > kMostBlocks) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has {} blocks: it is not written to", file.name(), blocks));
  }
  std::vector<ByteRange> ranges = {{0, kFooterBytes},
                                   {start.footer.header_offset, kHeaderBytes},
                                   {header.table_offset, 4 * header.blocks}};
  if (footer.offset) ranges.push_back({*footer.offset, kFooterBytes});
  TableCache cache(file);
  TableCache::Cursor table(cache);
  for (uint64_t block = 0; block < blocks; ++block) {
    if (block % 4096 == 0 && cancel.requested()) {
      return Error(ErrorCode::kInterrupted, "interrupted");
    }
    SNAP_ASSIGN(const auto entry, table.be<uint32_t>(header.table_offset + 4 * block));
    if (entry == kAbsent) continue;
    ranges.push_back({entry * kSectorSize, header.bitmap_bytes() + header.block_size});
  }
  return check_apart(file, std::move(ranges));
}

// The last sector, if it is a footer; else its copy, which fixed ones do not have.
Result<FooterPlace> footer_of(File& file) {
  const auto read = [&](uint64_t offset, bool fixed) -> Result<std::vector<std::byte>> {
    std::vector<std::byte> bytes(kFooterBytes);
    SNAP_TRY(file.read_at(offset, bytes));
    const auto footer = parse_footer(bytes);
    const bool right = footer && footer->sum_is_right && (fixed || footer->type != Type::kFixed);
    if (!right) bytes.clear();
    return bytes;
  };
  const uint64_t last = file.size() - kFooterBytes;
  SNAP_ASSIGN(auto bytes, read(last, true));
  if (!bytes.empty()) return FooterPlace{std::move(bytes), last};
  SNAP_ASSIGN(bytes, read(0, false));
  if (!bytes.empty()) return FooterPlace{std::move(bytes), std::nullopt};
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' has no footer of 512 bytes whose sum is right: it is not written "
                           "to",
                           file.name()));
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> update_image(File& file,
                                                          const access::UpdateOptions& options) {
  SNAP_ASSIGN(const Start start, read_start(file));
  SNAP_ASSIGN(auto footer, footer_of(file));
  std::optional<Uuid> uuid;
  if (options.child != nullptr) {
    SNAP_ASSIGN(const Start child, read_start(*options.child));
    uuid = child.footer.uuid;
  }
  if (start.footer.type == Type::kFixed) {
    SNAP_TRY(check_apart(file, {{0, start.footer.size}, {*footer.offset, kFooterBytes}}));
    return std::make_unique<FixedUpdate>(file, std::move(footer), uuid);
  }
  SNAP_TRY(check_blocks(file, start, footer, options.cancel));
  return std::make_unique<BlocksUpdate>(file, start, std::move(footer), uuid);
}

}  // namespace snaptool::vpc
