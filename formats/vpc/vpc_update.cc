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

constexpr uint64_t kLeastBlock = 256 * kKiB;  // so that all that may be new are few enough

// Of an image whose blocks are sought in a table: a dynamic or differencing one. The footer at the
// end of the file is never overwritten: a new block lies beyond it, and has a footer beyond it in
// turn, so that in whatever state a crash leaves the file, its last sector is one, or zeros.
class BlocksUpdate : public BlockUpdate {
 public:
  BlocksUpdate(File& file, const Start& start, std::vector<std::byte> footer,
               std::optional<std::vector<std::byte>> renamed)
      : BlockUpdate(file, start.header->block_size),
        header_(*start.header),
        all_own_(start.footer.type == Type::kDynamic),
        footer_(std::move(footer)),
        renamed_(std::move(renamed)),
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

  Result<uint64_t> append() override {
    const uint64_t end = div_round_up(file().size(), kSectorSize) * kSectorSize;
    const uint64_t place = div_round_up(end + header_.bitmap_bytes(), kAlign) * kAlign;
    const uint64_t footer = place + header_.block_size;
    if (footer / kSectorSize >= kAbsent) {
      return Error(ErrorCode::kNoSpace, fmt::format("'{}' cannot name a block beyond its first "
                                                    "2 TiB",
                                                    file().name()));
    }
    SNAP_TRY(file().resize(footer + kFooterBytes));
    SNAP_TRY(file().write_at(footer, footer_));
    bitmap_ = place - header_.bitmap_bytes();
    bits_.assign(header_.bitmap_bytes(), all_own_ ? std::byte{0xff} : std::byte{0});
    changed_ = true;
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
    if (!renamed_) return {};
    SNAP_TRY(file().write_at(0, *renamed_));
    SNAP_TRY(file().flush());
    SNAP_TRY(file().write_at(file().size() - kFooterBytes, *renamed_));
    return file().flush();
  }

  const Header header_;
  const bool all_own_;  // all sectors of a new block are its own
  const std::vector<std::byte> footer_;
  const std::optional<std::vector<std::byte>> renamed_;  // the footer, at last
  TableCache tables_;
  // Of the block that is written to.
  uint64_t bitmap_ = 0;  // where it is in the file
  std::vector<std::byte> bits_;
  bool changed_ = false;
};

// The image's bytes, and a footer.
class FixedUpdate : public access::ImageWriter {
 public:
  FixedUpdate(File& file, std::optional<std::vector<std::byte>> renamed)
      : file_(file), renamed_(std::move(renamed)), writeback_(file) {}

  uint64_t unit_size() const override { return kSectorSize; }
  uint64_t piece_size() const override { return kMiB; }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] == access::UnitKind::kAbsent) continue;
      const uint64_t at = i * kSectorSize;
      piece.add_extent(piece.offset + at, piece.data.subspan(at, kSectorSize));
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    SNAP_TRY(file_.flush());
    if (!renamed_) return {};
    SNAP_TRY(file_.write_at(file_.size() - kFooterBytes, *renamed_));
    return file_.flush();
  }

 private:
  File& file_;
  const std::optional<std::vector<std::byte>> renamed_;
  EarlyWriteback writeback_;
};

Result<void> check_blocks(File& file, const Start& start, const Cancel& cancel) {
  const Header& header = *start.header;
  if (header.block_size < kLeastBlock) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' has blocks of {} bytes: it is not written to", file.name(),
                             header.block_size));
  }
  const uint64_t bytes = header.bitmap_bytes() + header.block_size;
  std::vector<ByteRange> ranges = {{0, kFooterBytes},
                                   {start.footer.header_offset, kHeaderBytes},
                                   {header.table_offset, 4 * header.blocks}};
  TableCache cache(file);
  TableCache::Cursor table(cache);
  for (uint64_t block = 0; block < div_round_up(start.footer.size, header.block_size); ++block) {
    if (block % 4096 == 0 && cancel.requested()) {
      return Error(ErrorCode::kInterrupted, "interrupted");
    }
    SNAP_ASSIGN(const auto entry, table.be<uint32_t>(header.table_offset + 4 * block));
    if (entry != kAbsent) ranges.push_back({entry * kSectorSize, bytes});
  }
  return check_apart(file, std::move(ranges));
}

// The last sector, if it is a footer; else its copy.
Result<std::vector<std::byte>> footer_of(File& file) {
  std::vector<std::byte> bytes(kFooterBytes);
  SNAP_TRY(file.read_at(file.size() - kFooterBytes, bytes));
  if (const auto footer = parse_footer(bytes); footer && footer->sum_is_right) return bytes;
  SNAP_TRY(file.read_at(0, bytes));
  const auto footer = parse_footer(bytes);
  if (footer && footer->sum_is_right && footer->type != Type::kFixed) return bytes;
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
  std::optional<std::vector<std::byte>> renamed;
  if (options.child != nullptr) {
    SNAP_ASSIGN(const Start child, read_start(*options.child));
    renamed = with_uuid(footer, child.footer.uuid);
  }
  if (start.footer.type == Type::kFixed) {
    SNAP_TRY(
        check_apart(file, {{0, start.footer.size}, {file.size() - kFooterBytes, kFooterBytes}}));
    return std::make_unique<FixedUpdate>(file, std::move(renamed));
  }
  SNAP_TRY(check_blocks(file, start, options.cancel));
  return std::make_unique<BlocksUpdate>(file, start, std::move(footer), std::move(renamed));
}

}  // namespace snaptool::vpc
