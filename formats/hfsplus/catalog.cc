// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/endian.h"

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

Bytes attribute_name(Bytes key) {
  if (key.size() < 12) return {};
  const size_t bytes = size_t{load_be<uint16_t>(key.data() + 10)} * 2;
  return key.subspan(12, std::min(bytes, key.size() - 12));
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

Result<void> Catalog::add_attribute(Bytes key, Bytes data, AttributeFacts& facts) {
  const auto broken = [&] {
    return damaged(fmt::format("node {} has a broken extended attribute", facts.id));
  };
  const uint32_t type = data.size() < 16 ? 0 : load_be<uint32_t>(data.data());
  const std::string name = name_text(attribute_name(key));
  if (name == "com.apple.system.cprotect") facts.is_encrypted = true;
  const uint64_t seed = bytes_sum(attribute_name(key), 1);
  if (type == kInlineAttribute) {
    const uint32_t size = load_be<uint32_t>(data.data() + 12);
    if (size > data.size() - 16) return broken();
    const Bytes value = data.subspan(16, size);
    if (name == "com.apple.decmpfs") {
      SNAP_ASSIGN(facts.compression, parse_compression(value));
    }
    facts.sum += bytes_sum(value, seed);
    return {};
  }
  if (type != kForkAttribute && type != kMoreExtents) return broken();
  // Of a large value, its size and where it lies: these change with it.
  const size_t length = std::min<size_t>(data.size(), 8 + (type == kForkAttribute ? 80 : 64));
  facts.sum += bytes_sum(data.first(length), seed + type);
  return {};
}

Result<const AttributeFacts*> Catalog::attributes(uint32_t id) {
  AttributeFacts& kept = facts_[id % facts_.size()];
  if (kept.id == id) return &kept;
  const auto large = large_facts_.find(id);
  if (large != large_facts_.end()) return &large->second;
  AttributeFacts facts;
  facts.id = id;
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
    SNAP_TRY(add_attribute(record.key, record.data, facts));
    return true;
  }));
  SNAP_TRY(damage.result());
  if (count > kManyAttributes) return &(large_facts_[id] = std::move(facts));
  kept = std::move(facts);
  return &kept;
}

}  // namespace snaptool::hfsplus
