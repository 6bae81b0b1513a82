// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/volume.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::hfsplus {
namespace {

using access::SpaceKind;

constexpr size_t kMostExtents = 65536;  // of a file of the volume's own
constexpr size_t kBitmapPiece = 4 * kKiB;
constexpr uint8_t kResourceFork = 0xff;

std::array<std::byte, 10> extents_key(uint32_t id, bool is_resource, uint32_t block) {
  std::array<std::byte, 10> key{};
  key[0] = std::byte{is_resource ? kResourceFork : uint8_t{0}};
  store_be(key.data() + 2, id);
  store_be(key.data() + 6, block);
  return key;
}

}  // namespace

Result<void> Volume::open() {
  std::array<std::byte, kHeaderBytes> bytes{};
  SNAP_TRY(ground_.image.read_data(kHeaderAt, bytes));
  if (is_hfs(bytes)) {
    const std::optional<uint64_t> inner = embedded_volume(bytes);
    if (!inner) {
      return Error(ErrorCode::kUnsupported, "it is HFS (standard), which is not read");
    }
    ground_.base = *inner;
    SNAP_TRY(ground_.image.read_data(*inner + kHeaderAt, bytes));
  }
  SNAP_ASSIGN(header_, parse_header(bytes));
  ground_.block_size = header_.block_size;
  ground_.blocks = header_.blocks;
  warn_of_state();
  SNAP_TRY(open_own_files());
  SNAP_TRY(look_at_journal());
  sort_uses();
  return {};
}

void Volume::warn_of_state() {
  const uint64_t end = ground_.base + size();
  if (end > ground_.image.size()) {
    warnings_.push_back(
        fmt::format("the image ends {} bytes before its file system", end - ground_.image.size()));
  }
  if ((header_.attributes & kVolumeUnmounted) == 0) {
    warnings_.emplace_back("it was not unmounted: the last changes may be torn");
  }
  if ((header_.attributes & kVolumeInconsistent) != 0) {
    warnings_.emplace_back("it says of itself that it is inconsistent");
  }
}

Result<std::vector<BlockExtent>> Volume::all_extents(const Fork& fork, uint32_t id) {
  std::vector<BlockExtent> all;
  SNAP_TRY(walk_extents(fork, id, false, 0,
                        [&](uint64_t /*first*/, const BlockExtent& extent) -> Result<bool> {
                          if (all.size() == kMostExtents) {
                            return damaged(fmt::format("file {} is in too many pieces", id));
                          }
                          all.push_back(extent);
                          return true;
                        }));
  return all;
}

Result<void> Volume::open_own_files() {
  std::vector<BlockExtent> first;
  for (const BlockExtent& extent : header_.extents.extents) {
    if (extent.count == 0) break;
    first.push_back(extent);
  }
  SNAP_TRY(extents_.open(ground_, "extents tree", header_.extents.size, std::move(first)));
  extents_.set_order(compare_extents);
  SNAP_ASSIGN(auto pieces, all_extents(header_.catalog, kCatalogFile));
  SNAP_TRY(catalog_.open(ground_, "catalog", header_.catalog.size, std::move(pieces)));
  catalog_.set_order(header_.is_hfsx && !catalog_.folds_case() ? compare_catalog_exactly
                                                               : compare_folded);
  SNAP_ASSIGN(pieces, all_extents(header_.attributes_file, kAttributesFile));
  SNAP_TRY(attributes_.open(ground_, "attributes tree", header_.attributes_file.size,
                            std::move(pieces)));
  attributes_.set_order(compare_attributes);
  SNAP_ASSIGN(pieces, all_extents(header_.allocation, kAllocationFile));
  SNAP_TRY(allocation_.open(ground_, header_.allocation.size, std::move(pieces)));
  SNAP_ASSIGN(pieces, all_extents(header_.startup, kStartupFile));
  return startup_.open(ground_, header_.startup.size, std::move(pieces));
}

// A journal that cannot be looked at is a warning: what is read does not depend on it.
Result<void> Volume::look_at_journal() {
  if ((header_.attributes & kVolumeJournaled) == 0 || header_.journal_block == 0) return {};
  constexpr uint32_t kInVolume = 1;
  constexpr uint32_t kNotYetMade = 4;
  std::array<std::byte, 52> info{};
  auto read = ground_.check({header_.journal_block, 1});
  if (read) read = ground_.image.read_data(ground_.place_of(header_.journal_block), info);
  if (!read) {
    if (read.error().code() != ErrorCode::kCorruption) return read;
    warnings_.emplace_back("its journal is not where it should be: the last changes may be torn");
    return {};
  }
  const uint64_t place = ground_.place_of(header_.journal_block);
  uses_.push_back({place, place + header_.block_size, SpaceKind::kJournal});
  const uint32_t flags = load_be<uint32_t>(info.data());
  if ((flags & kInVolume) == 0) {
    warnings_.emplace_back("its journal is on another device: the last changes may be torn");
    return {};
  }
  const uint64_t offset = load_be<uint64_t>(info.data() + 36);
  const uint64_t bytes = load_be<uint64_t>(info.data() + 44);
  if (offset >= size() || bytes > size() - offset) {
    warnings_.emplace_back("its journal lies outside: the last changes may be torn");
    return {};
  }
  uses_.push_back({ground_.base + offset, ground_.base + offset + bytes, SpaceKind::kJournal});
  if ((flags & kNotYetMade) != 0) return {};
  return look_at_journal_header(offset, bytes);
}

Result<void> Volume::look_at_journal_header(uint64_t offset, uint64_t size) {
  constexpr uint32_t kMagic = 0x4a4e4c78;
  constexpr uint32_t kOrder = 0x12345678;
  std::array<std::byte, 24> head{};
  auto read = size < head.size() ? Result<void>(damaged("the journal is too short"))
                                 : ground_.image.read_data(ground_.base + offset, head);
  if (!read && read.error().code() != ErrorCode::kCorruption) return read;
  const std::byte* const at = head.data();
  const bool big = load_be<uint32_t>(at + 4) == kOrder;
  const auto number = [&](size_t from) {
    return big ? load_be<uint64_t>(at + from) : load_le<uint64_t>(at + from);
  };
  const bool known = (big ? load_be<uint32_t>(at) : load_le<uint32_t>(at)) == kMagic;
  if (!read || !known) {
    warnings_.emplace_back("its journal cannot be read: the last changes may be torn");
  } else if (number(8) != number(16)) {
    warnings_.emplace_back("its journal was not replayed: the last changes may be torn");
  }
  return {};
}

Result<void> Volume::walk_extents(const Fork& fork, uint32_t id, bool is_resource, uint64_t from,
                                  const VisitExtent& visit) {
  uint64_t done = 0;
  const auto visit_all = [&](const Extents& extents) -> Result<bool> {
    for (const BlockExtent& extent : extents) {
      if (extent.count == 0) break;
      if (done >= fork.blocks) return false;
      SNAP_TRY(ground_.check(extent));
      const uint64_t first = done;
      done += extent.count;
      if (done <= from) continue;
      SNAP_ASSIGN(const bool more, visit(first, extent));
      if (!more) return false;
    }
    return done < fork.blocks;
  };
  if (fork.blocks > header_.blocks) {
    return damaged(fmt::format("file {} has {} blocks, of {}", id, fork.blocks, header_.blocks));
  }
  SNAP_ASSIGN(const bool more, visit_all(fork.extents));
  if (!more) return {};
  const uint64_t start = std::max(done, from);
  if (start >= fork.blocks) return {};
  const auto key = extents_key(id, is_resource, static_cast<uint32_t>(start));
  bool begun = false;
  bool ended = false;
  Damage damage;
  SNAP_TRY(extents_.walk(key, damage, [&](const TreeRecord& record) -> Result<bool> {
    if (record.key.size() != key.size() || record.data.size() < 64) {
      return damaged(fmt::format("extents of file {} have a broken record", id));
    }
    const uint32_t first = load_be<uint32_t>(record.key.data() + 6);
    const bool same = std::equal(key.begin(), key.begin() + 1, record.key.begin()) &&
                      std::equal(key.begin() + 2, key.begin() + 6, record.key.begin() + 2);
    // The one before may be another file's.
    if (!same) return !begun && compare_extents(record.key, key) < 0;
    if (begun ? first != done : first > start || first < done) {
      return damaged(fmt::format("extents of file {} leave out or repeat a block", id));
    }
    begun = true;
    done = first;
    SNAP_ASSIGN(const bool go_on, visit_all(parse_extents(record.data)));
    ended = !go_on;
    return go_on;
  }));
  SNAP_TRY(damage.result());
  if (!ended)
    return damaged(fmt::format("extents of file {} end at block {} of {}", id, done, fork.blocks));
  return {};
}

void Volume::add_use(const OwnFile& file, SpaceKind kind) {
  for (const BlockExtent& extent : file.extents()) {
    const uint64_t start = ground_.place_of(extent.start);
    uses_.push_back({start, start + uint64_t{extent.count} * header_.block_size, kind});
  }
}

void Volume::sort_uses() {
  add_use(extents_.file(), SpaceKind::kNodes);
  add_use(catalog_.file(), SpaceKind::kNodes);
  add_use(attributes_.file(), SpaceKind::kNodes);
  add_use(allocation_, SpaceKind::kMetadata);
  add_use(startup_, SpaceKind::kMetadata);
  // The header with what is reserved before it, and its copy at the end.
  const uint64_t block = header_.block_size;
  const uint64_t head = div_round_up(kHeaderAt + kHeaderBytes, block) * block;
  uses_.push_back({0, ground_.base + head, SpaceKind::kMetadata});
  if (size() > head + 1024) {
    const uint64_t copy = round_down(size() - 1024, block);
    uses_.push_back({ground_.base + copy, ground_.base + size(), SpaceKind::kMetadata});
  }
  std::sort(uses_.begin(), uses_.end(),
            [](const Use& a, const Use& b) { return a.start < b.start; });
  // Where they lie on one another, the first one counts.
  std::vector<Use> apart;
  for (Use use : uses_) {
    if (!apart.empty()) use.start = std::max(use.start, apart.back().end);
    if (use.start < use.end) apart.push_back(use);
  }
  uses_ = std::move(apart);
}

Result<std::pair<SpaceKind, uint64_t>> Volume::space_at(uint64_t offset) {
  const auto use = std::upper_bound(uses_.begin(), uses_.end(), offset,
                                    [](uint64_t at, const Use& one) { return at < one.end; });
  if (use != uses_.end() && use->start <= offset) return std::pair(use->kind, use->end);
  const uint64_t block = (offset - ground_.base) / header_.block_size;
  uint64_t limit = ground_.blocks;
  if (use != uses_.end()) {
    limit = std::min(limit, div_round_up(use->start - ground_.base, header_.block_size));
  }
  const uint64_t piece = round_down(block / 8, kBitmapPiece);
  if (bitmap_at_ != piece) {
    bitmap_at_ = UINT64_MAX;
    const uint64_t all = div_round_up(ground_.blocks, 8);
    bitmap_.resize(std::min<uint64_t>(kBitmapPiece, all - piece));
    SNAP_TRY(allocation_.read(piece, bitmap_));
    bitmap_at_ = piece;
  }
  limit = std::min(limit, (piece + bitmap_.size()) * 8);
  const auto used = [&](uint64_t at) {
    return (std::to_integer<unsigned>(bitmap_[at / 8 - piece]) >> (7 - at % 8) & 1U) != 0;
  };
  uint64_t end = block + 1;
  while (end < limit && used(end) == used(block)) ++end;
  return std::pair(used(block) ? SpaceKind::kFile : SpaceKind::kFree,
                   ground_.base + end * header_.block_size);
}

}  // namespace snaptool::hfsplus
