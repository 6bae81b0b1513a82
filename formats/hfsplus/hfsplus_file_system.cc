// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/hfsplus_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/file_facts.h"
#include "formats/common/uuid.h"
#include "formats/hfsplus/catalog.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/crc32.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/units.h"

namespace snaptool::hfsplus {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileRun;
using access::FileSystem;
using access::NodeType;
using access::SpaceKind;

constexpr uint64_t kMostTarget = 64 * kKiB;
constexpr unsigned kStreamShift = 48;
constexpr std::string_view kResourceName = "rsrc";
// Of a record's flags, those that say how it is stored: that there are a thread, attributes, a
// chain of links and the like.
constexpr uint16_t kStorageFlags = 0xfe;

// Resource forks have ids of their own.
uint64_t resource_id(uint32_t id) {
  const uint32_t hash = crc32(std::as_bytes(std::span(kResourceName))) & 0xffffU;
  return uint64_t{hash != 0 ? hash : 1} << kStreamShift | id;
}

// As blkid makes it of the volume's identifier: a UUID of version 3, by name.
std::string uuid_of(Bytes identifier) {
  if (is_all_zero(identifier)) return "";
  constexpr std::array<uint8_t, 16> kSpace = {0xb3, 0xe2, 0x0f, 0x39, 0xf2, 0x92, 0x11, 0xd6,
                                              0x97, 0xa4, 0x00, 0x30, 0x65, 0x43, 0xec, 0xac};
  Hash hash(HashAlgorithm::kMd5);
  hash.update(std::as_bytes(std::span(kSpace)));
  hash.update(identifier);
  std::array<std::byte, 64> sum{};
  hash.finish(sum);
  Uuid uuid;
  std::copy_n(sum.begin(), uuid.size(), uuid.begin());
  uuid[6] = (uuid[6] & std::byte{0x0f}) | std::byte{0x30};
  uuid[8] = (uuid[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid_text(uuid, UuidOrder::kNetwork);
}

class HfsPlusFileSystem : public FileSystem {
 public:
  HfsPlusFileSystem(Image& image, const Cancel& cancel)
      : volume_(image, cancel), catalog_(volume_) {}
  Result<void> open() {
    SNAP_TRY(volume_.open());
    return catalog_.open();
  }

  std::string_view type() const override { return header().is_hfsx ? "hfsx" : "hfsplus"; }
  std::string label() const override { return catalog_.label(); }
  std::string uuid() const override { return uuid_of(header().identifier); }
  uint64_t block_size() const override { return header().block_size; }
  uint64_t size() const override { return volume_.ground().base + volume_.size(); }
  const std::vector<std::string>& warnings() const override { return volume_.warnings(); }
  bool may_be_behind() const override { return !warnings().empty(); }
  uint64_t root() const override { return kRootFolder; }

  Result<FileNode> node(uint64_t id) override;
  Result<void> visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) override;
  Result<void> visit_ids_at(uint64_t offset, uint64_t length,
                            const std::function<Result<void>(uint64_t id)>& visit) override;
  Result<void> visit_runs(const FileNode& node,
                          const std::function<Result<void>(const FileRun&)>& visit) override;
  Result<void> visit_structures(
      const FileNode& node,
      const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) override;
  Result<void> visit_entries(const FileNode& folder, bool deleted,
                             const std::function<Result<void>(const FileEntry&)>& visit) override;
  Result<void> read(const FileNode& node, uint64_t offset, std::span<std::byte> out) override;
  Result<std::string> target(const FileNode& link) override;
  Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) override;

 private:
  // A file, a folder, or the resource fork of a file.
  struct Opened {
    CatalogRecord record;
    bool is_resource = false;
    std::optional<Compression> compression;  // of its content

    const Fork& fork() const { return is_resource ? record.resource : record.data; }
  };
  // While all nodes are visited: the blocks that those had whose runs were asked for. No block is
  // two files', so these are no more than there are.
  struct Pass {
    uint64_t id = 0;  // the node that is being visited; 0: its runs were counted
    uint64_t blocks = 0;
    uint64_t attributes = 0;  // records of these that were looked at for where they lie
  };

  const VolumeHeader& header() const { return volume_.header(); }
  Result<Opened> open_node(uint64_t id);
  Result<std::optional<Compression>> compression_of(const CatalogRecord& record);
  Result<bool> has_resource(const CatalogRecord& record);
  Result<FileNode> node_of(const CatalogRecord& record);
  FileNode resource_node(const FileNode& file, const CatalogRecord& record) const;
  Result<uint64_t> metadata_sum(const CatalogRecord& record, bool is_compressed);
  Result<void> visit_record(const TreeRecord& found, Damage& damage,
                            const std::function<Result<void>(const FileNode&)>& visit);
  Result<void> visit_entry(const TreeRecord& found, Damage& damage,
                           const std::function<Result<void>(const FileEntry&)>& visit);
  Result<void> visit_fork_runs(const Opened& opened, uint64_t id, uint64_t size,
                               const std::function<Result<void>(const FileRun&)>& visit);
  Result<void> read_fork(const Fork& fork, uint32_t id, bool is_resource, uint64_t offset,
                         std::span<std::byte> out);
  using VisitId = std::function<Result<void>(uint64_t id)>;
  Result<void> visit_tree_at(Tree& tree, uint64_t offset, uint64_t length,
                             const Tree::Visit& visit);
  Result<bool> visit_catalog_id(const TreeRecord& record, const VisitId& visit);

  Volume volume_;
  Catalog catalog_;
  Unpacker unpacker_;
  std::optional<Pass> pass_;
};

Result<HfsPlusFileSystem::Opened> HfsPlusFileSystem::open_node(uint64_t id) {
  Opened opened;
  const auto number = static_cast<uint32_t>(id);
  opened.is_resource = id != number;
  const Error none(ErrorCode::kNotFound, fmt::format("there is no file or folder {}", id));
  if (opened.is_resource && id != resource_id(number)) return none;
  if (number != kRootFolder && number < kFirstUserId) return none;
  SNAP_ASSIGN(opened.record, catalog_.record(number));
  if (opened.record.is_file_link()) {
    SNAP_TRY(catalog_.resolve(opened.record));
    return none;  // it is only a name
  }
  if (opened.is_resource) {
    SNAP_ASSIGN(const bool there, has_resource(opened.record));
    if (!there) return none;
  } else {
    SNAP_ASSIGN(opened.compression, compression_of(opened.record));
  }
  return opened;
}

// macOS asks the flag. Tools that lose it leave a file that would look empty.
Result<std::optional<Compression>> HfsPlusFileSystem::compression_of(const CatalogRecord& record) {
  if (record.is_folder || record.is_folder_link()) return std::optional<Compression>();
  if (!record.has_compressed_flag() && record.data.size != 0) return std::optional<Compression>();
  SNAP_ASSIGN(const AttributeFacts* const facts, catalog_.attributes(record.id));
  if (!facts->compression && record.has_compressed_flag()) {
    return damaged(fmt::format("file {} is marked as compressed, but does not say how", record.id));
  }
  return facts->compression;
}

Result<bool> HfsPlusFileSystem::has_resource(const CatalogRecord& record) {
  if (record.is_folder || record.is_folder_link() || record.resource.size == 0) return false;
  SNAP_ASSIGN(const std::optional<Compression> compression, compression_of(record));
  return !compression || !compression->is_in_fork();
}

Result<FileNode> HfsPlusFileSystem::node(uint64_t id) {
  SNAP_ASSIGN(const Opened opened, open_node(id));
  SNAP_ASSIGN(FileNode node, node_of(opened.record));
  return opened.is_resource ? resource_node(node, opened.record) : node;
}

Result<FileNode> HfsPlusFileSystem::node_of(const CatalogRecord& record) {
  FileNode node;
  node.id = record.id;
  if ((header().attributes & kVolumeReusesIds) != 0 && record.created) {
    node.generation = static_cast<uint64_t>(record.created->seconds);
  }
  node.type = record.type();
  if (record.mode != 0) {
    node.mode = record.mode & 0xfffU;
    node.owner = record.owner;
    node.group = record.group;
  }
  if (catalog_.is_indirect(record)) node.links = record.special;
  node.modified = record.modified;
  node.changed = record.changed;
  node.accessed = record.accessed;
  node.created = record.created;
  SNAP_ASSIGN(const std::optional<Compression> compression, compression_of(record));
  if (record.is_folder_link()) {
    node.size = catalog_.folder_link_target(record).size();
  } else if (!record.is_folder) {
    node.size = compression ? compression->size : record.data.size;
  }
  if (node.size > INT64_MAX) return damaged(fmt::format("file {} has an impossible size", node.id));
  SNAP_ASSIGN(node.metadata_sum, metadata_sum(record, compression.has_value()));
  SNAP_ASSIGN(const AttributeFacts* const facts, catalog_.attributes(record.id));
  node.encrypted = facts->is_encrypted;
  return node;
}

FileNode HfsPlusFileSystem::resource_node(const FileNode& file, const CatalogRecord& record) const {
  FileNode node = file;
  node.id = resource_id(record.id);
  node.type = NodeType::kFile;
  node.links = 1;
  node.size = std::min<uint64_t>(record.resource.size, INT64_MAX);
  node.metadata_sum = 0;
  return node;
}

Result<uint64_t> HfsPlusFileSystem::metadata_sum(const CatalogRecord& record, bool is_compressed) {
  constexpr uint8_t kCompressedFlag = 0x20;
  std::array<std::byte, 44> kept{};
  std::copy_n(record.finder.begin(), record.finder.size(), kept.begin());
  store_be(kept.data() + 32, static_cast<uint16_t>(record.flags & ~kStorageFlags));
  kept[34] = std::byte{record.admin_flags};
  kept[35] = std::byte{
      static_cast<uint8_t>(record.owner_flags & (is_compressed ? ~kCompressedFlag : 0xff))};
  store_be(kept.data() + 36, record.encoding);
  const NodeType type = record.type();
  if (type == NodeType::kCharacterDevice || type == NodeType::kBlockDevice) {
    store_be(kept.data() + 40, record.special);  // which device
  }
  uint64_t sum = is_all_zero(kept) ? 0 : bytes_sum(kept, 1);
  SNAP_ASSIGN(const AttributeFacts* const facts, catalog_.attributes(record.id));
  sum += facts->sum;
  if (facts->compression && !is_compressed) {
    sum += bytes_sum(facts->compression->within, facts->compression->size);
  }
  return sum;
}

Result<void> HfsPlusFileSystem::visit_nodes(
    const std::function<Result<void>(const FileNode&)>& visit) {
  Damage damage;
  pass_ = Pass{};
  catalog_.reset_limit();
  auto visited = volume_.catalog().walk_all(damage, [&](const TreeRecord& found) -> Result<bool> {
    SNAP_TRY(visit_record(found, damage, visit));
    return true;
  });
  pass_.reset();
  SNAP_TRY(std::move(visited));
  return damage.result();
}

Result<void> HfsPlusFileSystem::visit_record(
    const TreeRecord& found, Damage& damage,
    const std::function<Result<void>(const FileNode&)>& visit) {
  const uint16_t type = record_type(found.data);
  if (type == kFolderThread || type == kFileThread) return {};
  if (type != kFolderRecord && type != kFileRecord) {
    damage.add(fmt::format("the catalog has a record of type {}", type));
    return {};
  }
  const auto record = parse_record(found.key, found.data);
  if (!record) return damage.note(record.error());
  if (record->is_file_link()) return {};
  catalog_.keep(*record);
  const auto node = node_of(*record);
  if (!node) return damage.note(node.error());
  if (pass_) pass_->id = node->id;
  SNAP_TRY(visit(*node));
  const auto resource = has_resource(*record);
  if (!resource) return damage.note(resource.error());
  if (!*resource) return {};
  const FileNode stream = resource_node(*node, *record);
  if (pass_) pass_->id = stream.id;
  return visit(stream);
}

Result<void> HfsPlusFileSystem::visit_tree_at(Tree& tree, uint64_t offset, uint64_t length,
                                              const Tree::Visit& visit) {
  const uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  uint64_t done = 0;  // of the tree's file
  for (const BlockExtent& extent : tree.file().extents()) {
    const uint64_t bytes = uint64_t{extent.count} * header().block_size;
    const uint64_t place = volume_.ground().place_of(extent.start);
    const uint64_t from = std::max(place, offset);
    const uint64_t to = std::min(place + bytes, end);
    if (done / tree.node_bytes() >= tree.nodes()) break;
    if (from < to) {
      const uint64_t last =
          std::min<uint64_t>((done + (to - 1 - place)) / tree.node_bytes(), tree.nodes() - 1);
      for (uint64_t n = (done + (from - place)) / tree.node_bytes(); n <= last; ++n) {
        SNAP_TRY(tree.visit_leaf(static_cast<uint32_t>(n), visit));
      }
    }
    done += bytes;
  }
  return {};
}

Result<bool> HfsPlusFileSystem::visit_catalog_id(const TreeRecord& found, const VisitId& visit) {
  const uint16_t type = record_type(found.data);
  if (type != kFolderRecord && type != kFileRecord) return true;
  const auto record = parse_record(found.key, found.data);
  if (!record || record->is_file_link()) return true;
  SNAP_TRY(visit(record->id));
  if (record->resource.size != 0) SNAP_TRY(visit(resource_id(record->id)));
  return true;
}

Result<void> HfsPlusFileSystem::visit_ids_at(uint64_t offset, uint64_t length,
                                             const VisitId& visit) {
  SNAP_TRY(visit_tree_at(
      volume_.catalog(), offset, length,
      [&](const TreeRecord& found) -> Result<bool> { return visit_catalog_id(found, visit); }));
  const auto by_key = [&](size_t kind_at) {
    return [&visit, kind_at](const TreeRecord& found) -> Result<bool> {
      const uint32_t id = found.key.size() < 10 ? 0 : load_be<uint32_t>(found.key.data() + 2);
      if (id != kRootFolder && id < kFirstUserId) return true;
      SNAP_TRY(visit(id));
      // Of the extents: those of a resource fork.
      if (kind_at == 0 && found.key[0] != std::byte{0}) SNAP_TRY(visit(resource_id(id)));
      return true;
    };
  };
  SNAP_TRY(visit_tree_at(volume_.extents(), offset, length, by_key(0)));
  return visit_tree_at(volume_.attributes(), offset, length, by_key(1));
}

Result<void> HfsPlusFileSystem::visit_runs(
    const FileNode& node, const std::function<Result<void>(const FileRun&)>& visit) {
  SNAP_ASSIGN(const Opened opened, open_node(node.id));
  if (node.size == 0 || opened.record.is_folder) return {};
  if (opened.compression || opened.record.is_folder_link()) {
    return visit({0, node.size, std::nullopt, false});
  }
  return visit_fork_runs(opened, node.id, std::min(node.size, opened.fork().size), visit);
}

Result<void> HfsPlusFileSystem::visit_fork_runs(
    const Opened& opened, uint64_t id, uint64_t size,
    const std::function<Result<void>(const FileRun&)>& visit) {
  const uint64_t block = header().block_size;
  const bool counts = pass_ && pass_->id == id;
  if (counts) pass_->id = 0;
  uint64_t done = 0;
  SNAP_TRY(volume_.walk_extents(
      opened.fork(), opened.record.id, opened.is_resource, 0,
      [&](uint64_t first, const BlockExtent& extent) -> Result<bool> {
        if (counts && pass_) pass_->blocks += extent.count;
        if (pass_ && pass_->blocks > header().blocks) {
          return damaged(fmt::format("file {} and those before it have more blocks than there are",
                                     opened.record.id));
        }
        const uint64_t end = div_round_up(size, block) * block;
        if (first * block >= end) return false;
        const uint64_t length = std::min(extent.count * block, end - first * block);
        done = first * block + length;
        SNAP_TRY(visit({first * block, length, volume_.ground().place_of(extent.start)}));
        return done < end;
      }));
  if (done >= size) return {};
  return damaged(
      fmt::format("file {} of {} bytes has blocks for {}", opened.record.id, size, done));
}

// Large extended attributes, and the fork that has the content of a compressed file.
Result<void> HfsPlusFileSystem::visit_structures(
    const FileNode& node,
    const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) {
  constexpr uint64_t kLeastRecord = 32;  // of the attributes tree, bytes
  SNAP_ASSIGN(Opened opened, open_node(node.id));
  if (opened.is_resource) return {};
  SNAP_ASSIGN(const uint64_t count,
              catalog_.visit_attribute_extents(
                  opened.record.id, [&](const BlockExtent& extent) -> Result<void> {
                    SNAP_TRY(volume_.ground().check(extent));
                    return visit(volume_.ground().place_of(extent.start),
                                 extent.count * block_size());
                  }));
  if (pass_) pass_->attributes += count;
  if (pass_ && pass_->attributes > volume_.attributes().file().size() / kLeastRecord) {
    return damaged("there are more extended attributes than their tree can have");
  }
  if (!opened.compression || !opened.compression->is_in_fork()) return {};
  opened.is_resource = true;
  return visit_fork_runs(opened, node.id, opened.record.resource.size,
                         [&](const FileRun& run) { return visit(*run.place, run.length); });
}

Result<void> HfsPlusFileSystem::visit_entries(
    const FileNode& folder, bool /*deleted*/,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  SNAP_ASSIGN(const Opened opened, open_node(folder.id));
  if (!opened.record.is_folder) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("node {} is no folder", folder.id));
  }
  const uint32_t id = opened.record.id;
  Damage damage;
  bool has_thread = false;
  SNAP_TRY(volume_.catalog().walk(
      catalog_key(id, {}), damage, [&](const TreeRecord& found) -> Result<bool> {
        const uint32_t parent = found.key.size() < 6 ? 0 : load_be<uint32_t>(found.key.data());
        if (parent != id) return parent < id;
        if (record_type(found.data) == kFolderThread) {
          has_thread = true;
          return true;
        }
        SNAP_TRY(visit_entry(found, damage, visit));
        return true;
      }));
  if (!has_thread) damage.add(fmt::format("folder {} has no thread", id));
  return damage.result();
}

Result<void> HfsPlusFileSystem::visit_entry(
    const TreeRecord& found, Damage& damage,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  const uint16_t type = record_type(found.data);
  if (type != kFolderRecord && type != kFileRecord) {
    damage.add(fmt::format("the catalog has a record of type {}", type));
    return {};
  }
  const auto record = parse_record(found.key, found.data);
  if (!record) return damage.note(record.error());
  catalog_.keep(*record);
  FileEntry entry;
  entry.name = name_text(record->name);
  entry.id = record->id;
  entry.type = record->type();
  if (entry.name == "." || entry.name == "..") {
    damage.add(fmt::format("node {} has the name '{}'", record->id, entry.name));
    return {};
  }
  const auto node = catalog_.resolve(*record);
  if (!node) {
    SNAP_TRY(damage.note(node.error()));
    return visit(entry);
  }
  entry.id = node->id;
  entry.type = node->type();
  SNAP_TRY(visit(entry));
  const auto resource = has_resource(*node);
  if (!resource) return damage.note(resource.error());
  if (!*resource) return {};
  entry.name += ':';
  entry.name += kResourceName;
  entry.id = resource_id(node->id);
  entry.type = NodeType::kFile;
  return visit(entry);
}

Result<void> HfsPlusFileSystem::read_fork(const Fork& fork, uint32_t id, bool is_resource,
                                          uint64_t offset, std::span<std::byte> out) {
  const uint64_t block = header().block_size;
  const uint64_t end = offset + out.size();
  uint64_t done = offset;
  SNAP_TRY(volume_.walk_extents(
      fork, id, is_resource, offset / block,
      [&](uint64_t first, const BlockExtent& extent) -> Result<bool> {
        const uint64_t to = std::min((first + extent.count) * block, end);
        const uint64_t place = volume_.ground().place_of(extent.start) + (done - first * block);
        SNAP_TRY(volume_.ground().image.poll());
        SNAP_TRY(volume_.ground().image.read_data(place, out.subspan(done - offset, to - done)));
        done = to;
        return done < end;
      }));
  if (done == end) return {};
  return damaged(fmt::format("file {} ends at byte {}, before its size", id, done));
}

Result<void> HfsPlusFileSystem::read(const FileNode& node, uint64_t offset,
                                     std::span<std::byte> out) {
  if (out.empty()) return {};
  SNAP_ASSIGN(const Opened opened, open_node(node.id));
  SNAP_CHECK(offset <= node.size && out.size() <= node.size - offset);
  const CatalogRecord& record = opened.record;
  if (record.is_folder_link()) {
    const std::string target = catalog_.folder_link_target(record);
    SNAP_CHECK(node.size == target.size());
    std::memcpy(out.data(), target.data() + offset, out.size());
    return {};
  }
  if (!opened.compression) {
    return read_fork(opened.fork(), record.id, opened.is_resource, offset, out);
  }
  SNAP_CHECK(node.size <= opened.compression->size);
  return unpacker_.read(
      record.id, *opened.compression, record.resource.size,
      [&](uint64_t at, std::span<std::byte> into) {
        return read_fork(record.resource, record.id, true, at, into);
      },
      offset, out);
}

Result<std::string> HfsPlusFileSystem::target(const FileNode& link) {
  SNAP_ASSIGN(const Opened opened, open_node(link.id));
  if (link.type != NodeType::kLink || opened.record.type() != NodeType::kLink) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("node {} is no link", link.id));
  }
  if (link.size > kMostTarget) {
    return damaged(fmt::format("link {} has a target of {} bytes", link.id, link.size));
  }
  std::string target(link.size, '\0');
  SNAP_TRY(read(link, 0, std::as_writable_bytes(std::span(target))));
  return target;
}

Result<std::pair<SpaceKind, uint64_t>> HfsPlusFileSystem::space_at(uint64_t offset) {
  if (offset >= size()) return std::pair(SpaceKind::kFree, UINT64_MAX);
  return volume_.space_at(offset);
}

}  // namespace

Result<std::unique_ptr<FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<HfsPlusFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::hfsplus
