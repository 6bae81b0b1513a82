// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "formats/common/block_update.h"
#include "formats/common/table_cache.h"
#include "formats/vhdx/vhdx_image.h"
#include "libsnap/base/endian.h"

namespace snaptool::vhdx {
namespace {

constexpr size_t kMostBlocks = size_t{4} << 20U;  // the 64 TiB of the largest, in blocks of 16 MiB

// The header that counts, and where the next one goes.
struct Headers {
  Header newest;
  size_t next = 0;  // of kHeadersAt
};

class BlocksUpdate : public BlockUpdate {
 public:
  // `data_write`: what the content is known by at last.
  BlocksUpdate(File& file, const Start& start, Headers headers, std::optional<Uuid> data_write)
      : BlockUpdate(file, start.metadata.block_size),
        metadata_(start.metadata),
        bat_(start.regions.bat),
        headers_(std::move(headers)),
        data_write_(data_write),
        tables_(file) {}

 private:
  // Whoever has noted the file's GUID learns that it was changed.
  Result<void> start() override {
    written_ = true;
    headers_.newest.file_write = random_uuid(UuidOrder::kGuid);
    return write_header();
  }

  // The other header stays whole meanwhile.
  Result<void> write_header() {
    ++headers_.newest.sequence;
    SNAP_TRY(file().write_at(kHeadersAt[headers_.next], encode_header(headers_.newest)));
    headers_.next = 1 - headers_.next;
    return file().flush();
  }

  Result<std::optional<uint64_t>> find(uint64_t block) override {
    TableCache::Cursor tables(tables_);
    SNAP_ASSIGN(const auto value, tables.le<uint64_t>(bat_.offset + 8 * metadata_.entry_of(block)));
    const BatEntry entry = decode_entry(value);
    if (entry.state != BlockState::kPresent) return std::optional<uint64_t>();
    return std::optional(entry.offset);
  }

  Result<uint64_t> append() override {
    const uint64_t place = div_round_up(file().size(), kAlign) * kAlign;
    SNAP_TRY(file().resize(place + metadata_.block_size));
    return place;
  }

  Result<void> note(uint64_t block, uint64_t place) override {
    std::array<std::byte, 8> entry{};
    store_le(entry.data(), encode_entry({BlockState::kPresent, place}));
    return file().write_at(bat_.offset + 8 * metadata_.entry_of(block), entry);
  }

  Result<void> end() override {
    if (!data_write_ && !written_) return {};
    headers_.newest.data_write = data_write_.value_or(random_uuid(UuidOrder::kGuid));
    return write_header();
  }

  const Metadata metadata_;
  const Region bat_;
  Headers headers_;
  const std::optional<Uuid> data_write_;
  TableCache tables_;
  bool written_ = false;
};

Error not_written_to(const File& file, std::string_view why) {
  return {ErrorCode::kUnsupported, fmt::format("'{}' {}: it is not written to", file.name(), why)};
}

Result<Headers> find_headers(File& file, const Header& newest) {
  std::vector<std::byte> first(kHeaderBytes);
  SNAP_TRY(file.read_at(kHeadersAt[0], first));
  const auto parsed = parse_header(first);
  const bool is_first = parsed && encode_header(*parsed) == encode_header(newest);
  return Headers{newest, is_first ? size_t{1} : size_t{0}};
}

// That nothing in the file lies in something else.
Result<void> check_blocks(File& file, const Start& start, const Cancel& cancel) {
  const auto& [header, replayed, regions, metadata, parent, warnings] = start;
  std::vector<ByteRange> ranges = {{0, kAlign},
                                   {regions.bat.offset, regions.bat.length},
                                   {regions.metadata.offset, regions.metadata.length},
                                   {header.log_offset, header.log_length}};
  TableCache cache(file);
  TableCache::Cursor table(cache);
  for (uint64_t block = 0; block < metadata.blocks(); ++block) {
    if (block % 4096 == 0 && cancel.requested()) {
      return Error(ErrorCode::kInterrupted, "interrupted");
    }
    SNAP_ASSIGN(const auto value,
                table.le<uint64_t>(regions.bat.offset + 8 * metadata.entry_of(block)));
    const BatEntry entry = decode_entry(value);
    if (entry.state == BlockState::kPresent) ranges.push_back({entry.offset, metadata.block_size});
    if (entry.state == BlockState::kPartly || entry.state == BlockState::kReserved) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("'{}': the entry of block {} is impossible", file.name(), block));
    }
  }
  return check_apart(file, std::move(ranges));
}

}  // namespace

Result<std::unique_ptr<access::ImageWriter>> update_image(File& file,
                                                          const access::UpdateOptions& options) {
  SNAP_ASSIGN(const Start start, read_start(file, options.cancel));
  if (start.replayed != nullptr) {
    return not_written_to(file,
                          "has changes in its log, which a program that writes VHDX must "
                          "replay first");
  }
  if (start.metadata.has_parent) return not_written_to(file, "is a differencing image");
  if (start.metadata.blocks() > kMostBlocks) return not_written_to(file, "has too many blocks");
  if (start.header.sequence > UINT64_MAX - 2) {
    return not_written_to(file, "has a header after which none can come");
  }
  std::optional<Uuid> data_write;
  if (options.child != nullptr) {
    SNAP_ASSIGN(const Start child, read_start(*options.child, options.cancel));
    data_write = child.header.data_write;
  }
  SNAP_TRY(check_blocks(file, start, options.cancel));
  SNAP_ASSIGN(Headers headers, find_headers(file, start.header));
  return std::make_unique<BlocksUpdate>(file, start, std::move(headers), data_write);
}

}  // namespace snaptool::vhdx
