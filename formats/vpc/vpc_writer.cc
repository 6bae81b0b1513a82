// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "formats/common/early_writeback.h"
#include "formats/common/new_file.h"
#include "formats/common/table_writer.h"
#include "formats/vpc/vpc_image.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::vpc {
namespace {

constexpr uint64_t kHeaderAt = kFooterBytes;
constexpr uint64_t kTableAt = kHeaderAt + kHeaderBytes;
constexpr uint64_t kPiece = kNewBlock;

Footer footer_for(uint64_t size, Type type) {
  constexpr std::time_t k2000 = 946684800;
  Footer footer;
  footer.type = type;
  footer.header_offset = kHeaderAt;
  footer.time = static_cast<uint32_t>(std::time(nullptr) - k2000);
  footer.size = size;
  footer.uuid = random_uuid(UuidOrder::kNetwork);
  return footer;
}

// All sectors of a block are its own: its bitmap.
constexpr std::array<std::byte, kNewBlock / kSectorSize / 8> all_own() {
  std::array<std::byte, kNewBlock / kSectorSize / 8> bits{};
  for (std::byte& byte : bits) byte = std::byte{0xff};
  return bits;
}
constexpr auto kAllOwn = all_own();

class DynamicWriter : public access::ImageWriter {
 public:
  DynamicWriter(File& file, const Footer& footer, access::Before before)
      : file_(file),
        footer_(footer),
        in_place_(before != access::Before::kZeros),
        table_(file, kTableAt, std::vector<std::byte>(4, std::byte{0xff})),
        writeback_(file) {
    header_.table_offset = kTableAt;
    header_.blocks = div_round_up(footer.size, kNewBlock);
    next_ = table_end();
  }

  uint64_t unit_size() const override { return kNewBlock; }
  uint64_t piece_size() const override { return kPiece; }

  Result<void> place(access::WritePiece& piece) override {
    if (piece.units.front() != access::UnitKind::kData) return {};
    const uint64_t data = div_round_up(next_ + kAllOwn.size(), kAlign) * kAlign;
    const uint64_t bitmap = data - kAllOwn.size();
    next_ = data + kNewBlock;
    SNAP_TRY(grow_new_file(file_, next_));
    piece.add_extent(bitmap, kAllOwn);
    piece.add_extent(data, {piece.data.data(), kNewBlock});
    std::array<std::byte, 4> entry{};
    store_be(entry.data(), static_cast<uint32_t>(bitmap / kSectorSize));
    return table_.set(piece.offset / kNewBlock, entry);
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    SNAP_TRY(grow_new_file(file_, next_ + kFooterBytes));
    SNAP_TRY(table_.finish((table_end() - kTableAt) / 4));
    SNAP_TRY(cut_new_file(file_, next_ + kFooterBytes));
    SNAP_TRY(file_.write_at(kHeaderAt, encode_header(header_)));
    // Without a footer, it is no image; with one, all is there.
    if (in_place_) SNAP_TRY(file_.flush());
    const auto footer = encode_footer(footer_);
    SNAP_TRY(file_.write_at(file_.size() - kFooterBytes, footer));
    return file_.write_at(0, footer);
  }

 private:
  // Where a sector ends.
  uint64_t table_end() const {
    return div_round_up(kTableAt + 4 * header_.blocks, kSectorSize) * kSectorSize;
  }

  File& file_;
  Footer footer_;
  Header header_;
  bool in_place_;
  TableWriter table_;
  EarlyWriteback writeback_;
  uint64_t next_ = 0;  // where the file's blocks end
};

// The image's bytes, and a footer.
class FixedWriter : public access::ImageWriter {
 public:
  FixedWriter(File& file, const Footer& footer, access::Before before)
      : file_(file), footer_(footer), zeroed_(before == access::Before::kZeros), writeback_(file) {}

  Result<void> begin() override {
    const uint64_t end = footer_.size + kFooterBytes;
    if (file_.size() == end) return {};
    auto resized = file_.resize(end);
    if (resized || resized.error().code() != ErrorCode::kUnsupported) return resized;
    return Error(ErrorCode::kUnsupported,
                 fmt::format("a fixed VHD image of {} bytes ends with a footer, and '{}' does not "
                             "have {} bytes",
                             footer_.size, file_.name(), end));
  }

  uint64_t unit_size() const override { return 64 * kKiB; }
  uint64_t piece_size() const override { return kPiece; }
  bool needs_zeros() const override { return !zeroed_; }
  Result<void> add_zeros(uint64_t offset, uint64_t length) override {
    return file_.zero_at(offset, length, ZeroMode::kKeep);
  }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData && zeroed_) continue;
      const uint64_t from = i * unit_size();
      const uint64_t length = std::min(unit_size(), piece.length - from);
      piece.add_extent(piece.offset + from, {piece.data.data() + from, length});
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    if (!zeroed_) SNAP_TRY(file_.flush());
    return file_.write_at(footer_.size, encode_footer(footer_));
  }

 private:
  File& file_;
  Footer footer_;
  bool zeroed_;
  EarlyWriteback writeback_;
};

std::string subformat_of(const std::map<std::string, std::string>& settings) {
  const auto given = settings.find("subformat");
  return given == settings.end() ? "dynamic" : given->second;
}

}  // namespace

uint64_t size_unit_of(const std::map<std::string, std::string>& settings) {
  return subformat_of(settings) == "azure" ? kMiB : kSectorSize;
}

Result<std::unique_ptr<access::ImageWriter>> create_image(File& file,
                                                          const access::CreateOptions& options) {
  if (options.size > kMostBytes) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} bytes are more than the 2040 GiB of a VHD image", options.size));
  }
  const std::string subformat = subformat_of(options.settings);
  if (subformat == "dynamic") {
    return std::make_unique<DynamicWriter>(file, footer_for(options.size, Type::kDynamic),
                                           options.before);
  }
  if (subformat == "fixed" || subformat == "azure") {
    return std::make_unique<FixedWriter>(file, footer_for(options.size, Type::kFixed),
                                         options.before);
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("subformat={}: dynamic, fixed or azure is wanted", subformat));
}

}  // namespace snaptool::vpc
