// SPDX-License-Identifier: Apache-2.0
#include "formats/vhdx/vhdx_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "formats/common/mapped_image.h"
#include "formats/common/table_cache.h"
#include "formats/vhdx/replayed_file.h"

namespace snaptool::vhdx {
namespace {

Error named(Error error, const File& file) {
  return std::move(error).with_context(fmt::format("'{}'", file.name()));
}

Result<std::vector<std::byte>> bytes_of(File& file, uint64_t offset, size_t length) {
  if (offset > file.size() || length > file.size() - offset) {
    return Error(ErrorCode::kCorruption, fmt::format("the file ends at byte {}, before byte {}",
                                                     file.size(), offset + length));
  }
  std::vector<std::byte> bytes(length);
  SNAP_TRY(file.read_at(offset, bytes));
  return bytes;
}

// Of two copies, those that are sound. Errors: that of the first where none is; others than
// kCorruption.
template <typename Parsed, typename Parse>
Result<std::vector<Parsed>> sound_copies(File& file, const std::array<uint64_t, 2>& places,
                                         size_t length, const Parse& parse) {
  std::vector<Parsed> sound;
  std::optional<Error> first;
  for (const uint64_t place : places) {
    SNAP_ASSIGN(const auto bytes, bytes_of(file, place, length));
    auto parsed = parse(bytes);
    if (parsed) {
      sound.push_back(*std::move(parsed));
    } else if (parsed.error().code() != ErrorCode::kCorruption) {
      return std::move(parsed).error();
    } else if (!first) {
      first = std::move(parsed).error();
    }
  }
  if (sound.empty()) return *std::move(first);
  return sound;
}

Result<Header> choose_header(File& file, std::vector<std::string>& warnings) {
  SNAP_ASSIGN(const auto headers,
              sound_copies<Header>(file, kHeadersAt, kHeaderBytes, parse_header));
  if (headers.size() == 1) {
    warnings.push_back(fmt::format("'{}': one of the two headers is broken", file.name()));
    return headers[0];
  }
  // Some programs write the same one twice.
  if (headers[0].sequence == headers[1].sequence &&
      encode_header(headers[0]) != encode_header(headers[1])) {
    return Error(ErrorCode::kCorruption, "the two headers differ, and none is the newer one");
  }
  return headers[headers[0].sequence < headers[1].sequence ? 1 : 0];
}

Result<Regions> choose_regions(File& file, std::vector<std::string>& warnings) {
  SNAP_ASSIGN(const auto tables,
              sound_copies<Regions>(file, kRegionTablesAt, kRegionTableBytes, parse_regions));
  if (tables.size() == 1) {
    warnings.push_back(
        fmt::format("'{}': one of the two tables of regions is broken", file.name()));
  }
  return tables[0];
}

// `file` is as the log leaves it.
Result<void> read_metadata(File& file, Start& start) {
  const Region& region = start.regions.metadata;
  SNAP_ASSIGN(const auto table, bytes_of(file, region.offset, kMetadataTableBytes));
  SNAP_ASSIGN(const ItemPlaces places, parse_item_places(table, region.length));
  ItemBytes items;
  for (size_t i = 0; i < kItems; ++i) {
    SNAP_ASSIGN(items[i], bytes_of(file, region.offset + places[i].offset, places[i].length));
  }
  SNAP_ASSIGN(start.metadata, parse_metadata(items));
  if (start.metadata.entries() > start.regions.bat.length / 8) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("its block table has {} bytes, which is less than {} entries",
                             start.regions.bat.length, start.metadata.entries()));
  }
  if (!start.metadata.has_parent) return {};
  SNAP_ASSIGN(start.parent, parse_parent_locator(items[static_cast<size_t>(Item::kParent)]));
  return {};
}

class VhdxImage : public MappedImage {
 public:
  VhdxImage(std::shared_ptr<File> file, Start start, std::shared_ptr<Image> parent)
      : MappedImage(std::move(file), start.metadata.size, std::move(parent)),
        metadata_(start.metadata),
        bat_(start.regions.bat),
        replayed_(std::move(start.replayed)),
        tables_(replayed_ != nullptr ? *replayed_ : MappedImage::file()) {
    const Region& metadata = start.regions.metadata;
    set_tables({{0, kAlign},
                {metadata.offset, metadata.length},
                {bat_.offset, bat_.length},
                {start.header.log_offset, start.header.log_length}});
  }

 private:
  Result<Run> run_at(uint64_t offset, uint64_t limit) override {
    const uint64_t block = offset / metadata_.block_size;
    const uint64_t within = offset % metadata_.block_size;
    TableCache::Cursor tables(tables_);
    SNAP_ASSIGN(const BatEntry entry, entry_at(tables, metadata_.entry_of(block)));
    Run run;
    run.length = std::min(limit, metadata_.block_size - within);
    switch (entry.state) {
      case BlockState::kNotPresent:
        if (metadata_.has_parent) run.kind = Run::Kind::kParent;
        return run;
      case BlockState::kUndefined:
      case BlockState::kZero:
      case BlockState::kUnmapped:
      case BlockState::kOldUnmapped:
        return run;
      case BlockState::kReserved:
        break;
      case BlockState::kPartly: {
        if (!metadata_.has_parent) break;
        SNAP_ASSIGN(const bool is_own, take_alike(tables, block, within, run));
        if (is_own) take_data(entry.offset + within, run);
        return run;
      }
      case BlockState::kPresent:
        take_data(entry.offset + within, run);
        return run;
    }
    return broken_entry(fmt::format("block {}", block), entry);
  }

  Error broken_entry(const std::string& of, const BatEntry& entry) const {
    return {ErrorCode::kCorruption,
            fmt::format("'{}': the entry of {}, state {} and byte {}, is impossible", name(), of,
                        static_cast<unsigned>(entry.state), entry.offset)};
  }

  Result<BatEntry> entry_at(TableCache::Cursor& tables, uint64_t index) const {
    SNAP_ASSIGN(const auto value, tables.le<uint64_t>(bat_.offset + 8 * index));
    const BatEntry entry = decode_entry(value);
    const bool has_place =
        entry.state == BlockState::kPresent || entry.state == BlockState::kPartly;
    if (has_place && (entry.offset < kAlign || entry.offset > kMaxFileSize - kMostBlock)) {
      return broken_entry(fmt::format("place {} of the block table", index), entry);
    }
    return entry;
  }

  // Cuts the run where the next sector is not the image's own as the first one is, or is where that
  // is not. Returns whether they are; else they are the parent's.
  Result<bool> take_alike(TableCache::Cursor& tables, uint64_t block, uint64_t within, Run& run) {
    const uint64_t chunk = block / metadata_.chunk_ratio();
    SNAP_ASSIGN(const BatEntry bits, entry_at(tables, metadata_.bits_entry_of(chunk)));
    if (bits.state != BlockState::kPresent) {
      return broken_entry(fmt::format("the bits of chunk {}", chunk), bits);
    }
    const uint64_t sector = metadata_.logical_sector;
    const uint64_t block_in_chunk = block % metadata_.chunk_ratio();
    const uint64_t first = (block_in_chunk * metadata_.block_size + within) / sector;
    // What the parent has may end much sooner: then all of it would be walked again.
    constexpr uint64_t kMostSectors = 256;
    const uint64_t wanted =
        std::min(kMostSectors, div_round_up(within % sector + run.length, sector));
    bool is_own = false;
    uint64_t alike = 0;  // sectors
    while (alike < wanted) {
      const uint64_t at = first + alike;
      SNAP_ASSIGN(uint64_t word, tables.le<uint64_t>(bits.offset + at / 64 * 8));
      word >>= at % 64;
      if (alike == 0) is_own = (word & 1U) != 0;
      const auto same =
          static_cast<uint64_t>(is_own ? std::countr_one(word) : std::countr_zero(word));
      alike += std::min(same, 64 - at % 64);
      if (same < 64 - at % 64) break;
    }
    run.length = std::min(run.length, alike * sector - within % sector);
    run.kind = is_own ? Run::Kind::kData : Run::Kind::kParent;
    return is_own;
  }

  // Bytes that the log has changed are not in the file as they are.
  void take_data(uint64_t at, Run& run) const {
    run.kind = Run::Kind::kData;
    run.file = &file();
    run.offset = at;
    if (replayed_ == nullptr) return;
    const ReplayedFile::Stretch stretch = replayed_->stretch_at(at, run.length);
    run.length = stretch.length;
    if (!stretch.as_is) run.kind = Run::Kind::kPacked;
  }

  Result<void> read_packed(const Run& run, uint64_t /*offset*/, std::span<std::byte> out) override {
    if (run.offset < file().size()) {
      const uint64_t there = std::min<uint64_t>(out.size(), file().size() - run.offset);
      SNAP_TRY(check_there(file(), run.offset, there));
    }
    return replayed_->read_at(run.offset, out);
  }

  Metadata metadata_;
  Region bat_;
  std::unique_ptr<ReplayedFile> replayed_;  // nullptr: the file is as it should be
  TableCache tables_;
};

std::string_view variant_of(const Metadata& metadata) {
  if (metadata.has_parent) return "differencing";
  return metadata.fixed ? "fixed" : "dynamic";
}

}  // namespace

Result<Start> read_start(File& file, const Cancel& cancel) {
  const auto read = [&]() -> Result<Start> {
    Start start;
    SNAP_ASSIGN(const auto head, bytes_of(file, 0, 8));
    if (!has_magic(head)) {
      return Error(ErrorCode::kCorruption, "it is no VHDX image: the magic is missing");
    }
    SNAP_ASSIGN(start.header, choose_header(file, start.warnings));
    if (!is_null(start.header.log)) {
      SNAP_ASSIGN(const Replay replay, find_replay(file, start.header, cancel));
      start.replayed = std::make_unique<ReplayedFile>(file, replay);
    }
    File& whole = start.replayed != nullptr ? *start.replayed : file;
    SNAP_ASSIGN(start.regions, choose_regions(whole, start.warnings));
    SNAP_TRY(read_metadata(whole, start));
    return start;
  };
  auto start = read();
  if (start) return start;
  return named(std::move(start).error(), file);
}

Result<access::ImageFacts> read_facts(File& file, const Cancel& cancel) {
  SNAP_ASSIGN(Start start, read_start(file, cancel));
  const Metadata& metadata = start.metadata;
  access::ImageFacts facts;
  facts.size = metadata.size;
  facts.identity = identity_of(start.header.data_write);
  facts.warnings = std::move(start.warnings);
  if (metadata.has_parent) {
    access::ParentRef parent;
    auto& names = start.parent.names;
    if (!names.empty()) {
      parent.name = names.front();
      parent.other_names.assign(names.begin() + 1, names.end());
    }
    parent.format = "vhdx";
    parent.identities = start.parent.identities;
    facts.parent = std::move(parent);
  }
  facts.details = {{"variant", std::string(variant_of(metadata))},
                   {"block_size", metadata.block_size},
                   {"logical_sector_size", metadata.logical_sector},
                   {"physical_sector_size", metadata.physical_sector},
                   {"log", std::string(start.replayed == nullptr ? "empty" : "replayed in memory")},
                   {"data_write_guid", uuid_text(start.header.data_write, UuidOrder::kGuid)},
                   {"virtual_disk_id", uuid_text(metadata.disk_id, UuidOrder::kGuid)}};
  return facts;
}

Result<std::unique_ptr<Image>> open_image(std::shared_ptr<File> file,
                                          const access::ImageOptions& options) {
  SNAP_ASSIGN(Start start, read_start(*file, options.cancel));
  if (start.metadata.has_parent && options.parent == nullptr) {
    return Error(ErrorCode::kWrongBase, fmt::format("'{}' needs its parent, {}", file->name(),
                                                    start.parent.identities.front()));
  }
  return std::make_unique<VhdxImage>(std::move(file), std::move(start), options.parent);
}

}  // namespace snaptool::vhdx
