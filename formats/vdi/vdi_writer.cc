// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "formats/common/early_writeback.h"
#include "formats/common/new_file.h"
#include "formats/common/table_writer.h"
#include "formats/vdi/vdi_image.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::vdi {
namespace {

std::array<std::byte, 4> entry_of(uint32_t value) {
  std::array<std::byte, 4> entry{};
  store_le(entry.data(), value);
  return entry;
}

std::vector<std::byte> free_entry() {
  const auto entry = entry_of(kFree);
  return {entry.begin(), entry.end()};
}

class VdiWriter : public access::ImageWriter {
 public:
  VdiWriter(File& file, const Header& header, access::Before before)
      : file_(file),
        header_(header),
        in_place_(before != access::Before::kZeros),
        map_(file, header.map_offset, free_entry()),
        writeback_(file) {}

  uint64_t unit_size() const override { return kNewBlock; }
  uint64_t piece_size() const override { return kNewBlock; }

  Result<void> place(access::WritePiece& piece) override {
    if (piece.units.front() != access::UnitKind::kData) return {};
    const auto index = static_cast<uint32_t>(header_.allocated++);
    SNAP_TRY(grow_new_file(file_, header_.offset_of(index + 1)));
    piece.add_extent(header_.offset_of(index), {piece.data.data(), kNewBlock});
    return map_.set(piece.offset / kNewBlock, entry_of(index));
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    const uint64_t end = header_.offset_of(static_cast<uint32_t>(header_.allocated));
    SNAP_TRY(grow_new_file(file_, end));
    SNAP_TRY(map_.finish(header_.blocks));
    SNAP_TRY(cut_new_file(file_, end));
    // Without a header, it is no image; with it, all is there.
    if (in_place_) SNAP_TRY(file_.flush());
    return file_.write_at(0, encode_header(header_));
  }

 private:
  File& file_;
  Header header_;
  bool in_place_;
  TableWriter map_;
  EarlyWriteback writeback_;
};

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  Header header;
  header.size = options.size;
  header.blocks = div_round_up(header.size, kNewBlock);
  if (header.blocks > kMostBlocks) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than a VDI image can have", header.size));
  }
  header.map_offset = kMiB;
  header.data_offset = div_round_up(header.map_offset + 4 * header.blocks, kMiB) * kMiB;
  header.uuid = random_uuid(UuidOrder::kGuid);
  header.modification = random_uuid(UuidOrder::kGuid);
  return std::make_unique<VdiWriter>(file, header, options.before);
}

}  // namespace snaptool::vdi
