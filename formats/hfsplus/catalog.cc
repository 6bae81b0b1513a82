// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/file_facts.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/units.h"

namespace snaptool::hfsplus {
namespace {

using namespace std::string_view_literals;

constexpr std::u16string_view kLinksFolder = u"\0\0\0\0HFS+ Private Data"sv;
constexpr std::string_view kFolderLinksFolder = ".HFS+ Private Directory Data\r";
constexpr uint32_t kInlineAttribute = 0x10;
constexpr uint32_t kForkAttribute = 0x20;
constexpr uint32_t kMoreExtents = 0x30;
constexpr uint64_t kManyAttributes = 256;
constexpr uint64_t kMostAttributes = 100'000;  // of one node
constexpr size_t kForkBytes = 8 + 80;          // of a record of a large value
constexpr size_t kMoreExtentsBytes = 8 + 64;
constexpr uint64_t kLargePiece = 64 * kKiB;
// So many times what the image has, large values are read: no block is two attributes', but a
// file is looked at more than once.
constexpr uint64_t kLargeTimes = 16;

Bytes attribute_name(Bytes key) {
  if (key.size() < 12) return {};
  const size_t bytes = size_t{load_be<uint16_t>(key.data() + 10)} * 2;
  return key.subspan(12, std::min(bytes, key.size() - 12));
}

// 0 for a record that is too short for its kind.
uint32_t record_kind(Bytes data) {
  const uint32_t type = data.size() < 16 ? 0 : load_be<uint32_t>(data.data());
  const size_t least = type == kForkAttribute ? kForkBytes
                       : type == kMoreExtents ? kMoreExtentsBytes
                                              : 16;
  return data.size() < least ? 0 : type;
}

// Those that a record has; none if it is none of a large value.
Extents extents_of(Bytes data) {
  const uint32_t type = record_kind(data);
  if (type == kForkAttribute) return parse_fork(data.subspan(8)).extents;
  return type == kMoreExtents ? parse_extents(data.subspan(8)) : Extents();
}

}  // namespace

Result<void> Catalog::open() {
  // The root's thread has the volume's name.
  const auto thread = catalog_key(kRootFolder, {});
  const auto found = volume_.catalog().find(thread, [&](const TreeRecord& record) -> Result<bool> {
    const auto key = parse_thread(record.data);
    if (key) label_ = name_text(Bytes(*key).subspan(6));
    return false;
  });
  if (!found && found.error().code() != ErrorCode::kCorruption) return found;
  const auto folder = by_key(catalog_key(kRootFolder, utf16_name(kLinksFolder)));
  if (!folder) {
    return folder.error().code() == ErrorCode::kCorruption ? Result<void>() : folder.error();
  }
  if (*folder && (*folder)->is_folder) links_folder_ = (*folder)->id;
  return {};
}

void Catalog::keep(const CatalogRecord& record) { kept_[record.id % kept_.size()] = record; }

Result<std::optional<CatalogRecord>> Catalog::by_key(Bytes key) {
  std::optional<CatalogRecord> found;
  SNAP_TRY(volume_.catalog().find(key, [&](const TreeRecord& record) -> Result<bool> {
    const uint16_t type = record_type(record.data);
    if (type != kFolderRecord && type != kFileRecord) return false;
    SNAP_ASSIGN(found, parse_record(record.key, record.data));
    return false;
  }));
  return found;
}

Result<CatalogRecord> Catalog::record(uint32_t id) {
  const auto& kept = kept_[id % kept_.size()];
  if (kept && kept->id == id) return *kept;
  std::optional<std::vector<std::byte>> name;
  SNAP_TRY(
      volume_.catalog().find(catalog_key(id, {}), [&](const TreeRecord& record) -> Result<bool> {
        const uint16_t type = record_type(record.data);
        if (type == kFolderThread || type == kFileThread) {
          SNAP_ASSIGN(name, parse_thread(record.data));
        }
        return false;
      }));
  if (!name) return Error(ErrorCode::kNotFound, fmt::format("there is no file or folder {}", id));
  SNAP_ASSIGN(const std::optional<CatalogRecord> found, by_key(*name));
  if (!found || found->id != id) {
    return damaged(fmt::format("the thread of node {} leads to no record of it", id));
  }
  keep(*found);
  return *found;
}

Result<CatalogRecord> Catalog::resolve(const CatalogRecord& name) {
  if (!name.is_file_link()) return name;
  const Error lost = damaged(
      fmt::format("hard link {} leads to node {}, which is not there", name.id, name.special));
  if (links_folder_ == 0) return lost;
  const std::string target = fmt::format("iNode{}", name.special);
  const std::u16string wide(target.begin(), target.end());
  SNAP_ASSIGN(const std::optional<CatalogRecord> found,
              by_key(catalog_key(links_folder_, utf16_name(wide))));
  if (!found || found->is_folder || found->is_file_link()) return lost;
  keep(*found);
  return *found;
}

bool Catalog::is_indirect(const CatalogRecord& record) const {
  return !record.is_folder && links_folder_ != 0 && record.parent == links_folder_ &&
         name_text(record.name).starts_with("iNode");
}

std::string Catalog::folder_link_target(const CatalogRecord& link) const {
  return fmt::format("/{}/dir_{}", kFolderLinksFolder, link.special);
}

Result<uint64_t> Catalog::walk_attributes(
    uint32_t id, const std::function<Result<void>(const TreeRecord&)>& visit) {
  std::array<std::byte, 12> key{};
  store_be(key.data() + 2, id);
  Damage damage;
  uint64_t count = 0;
  SNAP_TRY(volume_.attributes().walk(key, damage, [&](const TreeRecord& record) -> Result<bool> {
    if (record.key.size() < key.size()) return damaged("an extended attribute has a broken key");
    const uint32_t of = load_be<uint32_t>(record.key.data() + 2);
    if (of != id) return of < id;
    if (++count > kMostAttributes) {
      return damaged(fmt::format("node {} has too many extended attributes", id));
    }
    SNAP_TRY(visit(record));
    return true;
  }));
  SNAP_TRY(damage.result());
  return count;
}

Result<void> Catalog::add_attribute(const TreeRecord& record, AttributeFacts& facts,
                                    std::optional<LargeValue>& large) {
  const Bytes data = record.data;
  const auto broken = [&] {
    return damaged(fmt::format("node {} has a broken extended attribute", facts.id));
  };
  const uint32_t type = record_kind(data);
  const Bytes raw_name = attribute_name(record.key);
  if (type == kMoreExtents && large && std::ranges::equal(large->name, raw_name)) {
    add_extents(record, *large);
    return {};
  }
  if (large) {
    SNAP_ASSIGN(const uint64_t sum, sum_of(*large));
    facts.sum += sum;
    large.reset();
  }
  const std::string name = name_text(raw_name);
  if (name == "com.apple.system.cprotect") facts.is_encrypted = true;
  const uint64_t seed = bytes_sum(raw_name, 1);
  if (type == kMoreExtents) {  // of a value that is not there
    facts.sum += bytes_sum(data.first(kMoreExtentsBytes), seed + type);
    return {};
  }
  if (type == kForkAttribute) {
    large.emplace();
    large->name.assign(raw_name.begin(), raw_name.end());
    large->size = parse_fork(data.subspan(8)).size;
    add_extents(record, *large);
    return {};
  }
  if (type != kInlineAttribute) return broken();
  const uint32_t size = load_be<uint32_t>(data.data() + 12);
  if (size > data.size() - 16) return broken();
  const Bytes value = data.subspan(16, size);
  if (name == "com.apple.decmpfs") {
    SNAP_ASSIGN(facts.compression, parse_compression(value));
  }
  facts.sum += bytes_sum(value, seed);
  return {};
}

void Catalog::add_extents(const TreeRecord& record, LargeValue& large) {
  const bool is_fork = record_kind(record.data) == kForkAttribute;
  const Bytes data = record.data.first(is_fork ? kForkBytes : kMoreExtentsBytes);
  large.place_sum += bytes_sum(data, bytes_sum(large.name, 1));
  large.has_gap = large.has_gap || load_be<uint32_t>(record.key.data() + 6) != large.blocks;
  for (const BlockExtent& extent : extents_of(data)) {
    if (extent.count == 0) break;
    large.extents.push_back(extent);
    large.blocks += extent.count;
  }
}

// What cannot be read has no content that could differ: its size and where it should lie count.
Result<uint64_t> Catalog::sum_of(const LargeValue& value) {
  const Ground& ground = volume_.ground();
  OwnFile file;
  if (value.has_gap || !file.open(ground, value.size, value.extents)) return value.place_sum;
  RawBytes piece;
  uint64_t sum = bytes_sum(value.name, 1);
  uint64_t done = 0;
  do {
    SNAP_TRY(ground.image.poll());
    piece.resize(std::min<uint64_t>(kLargePiece, value.size - done));
    large_bytes_ += piece.size();
    if (large_bytes_ > kLargeTimes * ground.image.size()) {
      return damaged("the extended attributes of all files are more than the image can have");
    }
    const auto read = file.read(done, piece);
    if (!read && read.error().code() == ErrorCode::kCorruption) return value.place_sum;
    SNAP_TRY(read);
    sum = bytes_sum(piece, sum);
    done += piece.size();
  } while (done < value.size);
  return sum;
}

Result<const AttributeFacts*> Catalog::attributes(uint32_t id) {
  AttributeFacts& kept = facts_[id % facts_.size()];
  if (kept.id == id) return &kept;
  const auto known = large_facts_.find(id);
  if (known != large_facts_.end()) return &known->second;
  AttributeFacts facts;
  facts.id = id;
  std::optional<LargeValue> large;
  const uint64_t read_before = large_bytes_;
  SNAP_ASSIGN(const uint64_t count, walk_attributes(id, [&](const TreeRecord& record) {
                return add_attribute(record, facts, large);
              }));
  if (large) {
    SNAP_ASSIGN(const uint64_t sum, sum_of(*large));
    facts.sum += sum;
  }
  if (count > kManyAttributes || large_bytes_ - read_before > kLargePiece) {
    return &(large_facts_[id] = std::move(facts));
  }
  kept = std::move(facts);
  return &kept;
}

Result<uint64_t> Catalog::visit_attribute_extents(
    uint32_t id, const std::function<Result<void>(const BlockExtent&)>& visit) {
  return walk_attributes(id, [&](const TreeRecord& record) -> Result<void> {
    for (const BlockExtent& extent : extents_of(record.data)) {
      if (extent.count == 0) break;
      SNAP_TRY(visit(extent));
    }
    return {};
  });
}

}  // namespace snaptool::hfsplus
