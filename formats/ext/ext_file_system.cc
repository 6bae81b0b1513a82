// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/ext_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/file_facts.h"
#include "formats/common/uuid.h"
#include "formats/ext/attributes.h"
#include "formats/ext/block_walk.h"
#include "formats/ext/directory.h"
#include "formats/ext/space.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool::ext {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileRun;
using access::FileSystem;
using access::NodeType;
using access::SpaceKind;

constexpr uint64_t kMostTarget = 64 * kKiB;
// Flags that say how a file is stored, not what it is.
constexpr uint32_t kStorageFlags =
    kFlagIndexed | kFlagHugeFile | kFlagExtents | kFlagBlocksPastEnd | kFlagInline;

bool has_blocks(const Inode& inode) {
  const NodeType type = inode.type();
  return type == NodeType::kFile || type == NodeType::kFolder ||
         (type == NodeType::kLink && !inode.is_short_link());
}

// Zeros are put together, whether they are holes or were never written.
class RunJoiner {
 public:
  using Visit = std::function<Result<void>(const FileRun&)>;
  explicit RunJoiner(const Visit& visit) : visit_(visit) {}

  // `zeros`: what has no place is; else it lies in the inode.
  Result<void> add(uint64_t offset, uint64_t length, std::optional<uint64_t> place,
                   bool zeros = true) {
    if (length == 0) return {};
    if (place) {
      SNAP_TRY(finish());
      return visit_({offset, length, place});
    }
    if (zeros_.length == 0) zeros_.offset = offset;
    zeros_.zeros = zeros;
    zeros_.length += length;
    return {};
  }
  Result<void> finish() {
    if (zeros_.length > 0) SNAP_TRY(visit_(zeros_));
    zeros_.length = 0;
    return {};
  }

 private:
  const Visit& visit_;
  FileRun zeros_;
};

class ExtFileSystem : public FileSystem {
 public:
  ExtFileSystem(Image& image, const Cancel& cancel) : volume_(image, cancel), space_(volume_) {}
  Result<void> open() { return volume_.open(); }

  std::string_view type() const override { return super().type(); }
  std::string label() const override { return super().label; }
  std::string uuid() const override {
    return is_null(super().uuid) ? "" : uuid_text(super().uuid, UuidOrder::kNetwork);
  }
  uint64_t block_size() const override { return super().block_size(); }
  uint64_t size() const override { return super().blocks << super().block_bits; }
  const std::vector<std::string>& warnings() const override { return volume_.warnings(); }
  bool may_be_behind() const override { return (super().incompat & kIncompatRecover) != 0; }
  uint64_t root() const override { return kRootInode; }

  Result<uint64_t> layout_sum() override;
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
  // While all nodes are visited: how many blocks those had whose runs were asked for. No block is
  // two files', so these are no more than there are.
  struct Pass {
    uint64_t last_id = 0;
    uint64_t blocks = 0;
  };
  struct AttributeSum {
    uint64_t block = 0;
    uint64_t sum = 0;
  };

  const Superblock& super() const { return volume_.superblock(); }
  Result<const Inode*> inode_of(uint64_t id);
  Result<FileNode> node_of(const Inode& inode);
  Result<FileNode> free_node(uint32_t id);
  Result<uint64_t> metadata_sum(const Inode& inode);
  Result<uint64_t> block_attribute_sum(uint64_t block);
  bool is_shown(uint64_t id) const;
  Result<void> visit_groups(Damage& damage,
                            const std::function<Result<void>(const FileNode&)>& visit);
  Result<void> check_shared(uint64_t id) const;
  Result<void> visit_group(uint32_t index, Damage& damage,
                           const std::function<Result<void>(const FileNode&)>& visit);
  Result<void> visit_used(uint32_t id, Damage& damage,
                          const std::function<Result<void>(const FileNode&)>& visit);
  Result<std::vector<std::byte>> inline_content(const Inode& inode);
  Result<void> visit_inline_entries(const Inode& inode, const FolderRules& rules, Damage& damage,
                                    const VisitEntry& visit);
  Result<void> visit_folder_blocks(const Inode& inode, const FolderRules& rules, Damage& damage,
                                   const VisitEntry& visit);
  Result<void> visit_folder_run(const Inode& inode, const BlockRun& run, const FolderRules& rules,
                                Damage& damage, const VisitEntry& visit);
  Result<FileEntry> entry_of(const FolderEntry& found, Damage& damage);
  Result<void> read_blocks(const Inode& inode, uint64_t offset, std::span<std::byte> out);

  Volume volume_;
  Space space_;
  std::optional<Inode> last_;  // what was asked for last
  std::optional<Pass> pass_;
  std::array<AttributeSum, 256> attribute_sums_;
};

Result<const Inode*> ExtFileSystem::inode_of(uint64_t id) {
  if (id == 0 || id > super().inodes) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no inode {}", id));
  }
  if (!last_ || last_->id != id) {
    last_.reset();
    SNAP_ASSIGN(last_, volume_.inode(static_cast<uint32_t>(id)));
  }
  return &*last_;
}

Result<FileNode> ExtFileSystem::node(uint64_t id) {
  if (id == 0 || id > super().inodes) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no inode {}", id));
  }
  SNAP_ASSIGN(const bool used, volume_.is_used(static_cast<uint32_t>(id)));
  if (!used) return free_node(static_cast<uint32_t>(id));
  SNAP_ASSIGN(const Inode* const inode, inode_of(id));
  return node_of(*inode);
}

// What a free inode has was true once, or is rubbish: where it cannot be read, nothing is known.
Result<FileNode> ExtFileSystem::free_node(uint32_t id) {
  FileNode nothing;
  nothing.id = id;
  nothing.links = 0;
  nothing.deleted = true;
  SNAP_ASSIGN(const Group group, volume_.group((id - 1) / super().inodes_per_group));
  if ((id - 1) % super().inodes_per_group >= group.used_inodes) return nothing;
  auto inode = inode_of(id);
  auto known = inode ? node_of(**inode) : Result<FileNode>(std::move(inode).error());
  if (known) {
    known->deleted = true;
    return known;
  }
  if (known.error().code() != ErrorCode::kCorruption) return std::move(known).error();
  return nothing;
}

Result<FileNode> ExtFileSystem::node_of(const Inode& inode) {
  FileNode node;
  node.id = inode.id;
  node.generation = uint64_t{inode.generation} << 32U;
  if (inode.created) {
    const auto born = static_cast<uint64_t>(inode.created->seconds);
    node.generation |=
        (born ^ born >> 32U ^ uint64_t{inode.created->nanoseconds} << 2U) & UINT32_MAX;
  }
  node.type = inode.type();
  node.mode = inode.mode & 0xfffU;
  node.owner = inode.owner;
  node.group = inode.group;
  node.links = inode.links;
  node.size = inode.size;
  node.modified = inode.modified;
  node.changed = inode.changed;
  node.accessed = inode.accessed;
  node.created = inode.created;
  node.encrypted = (inode.flags & kFlagEncrypted) != 0;
  SNAP_ASSIGN(node.metadata_sum, metadata_sum(inode));
  return node;
}

Result<uint64_t> ExtFileSystem::metadata_sum(const Inode& inode) {
  uint64_t sum = 0;
  const NodeType type = inode.type();
  const uint32_t flags = inode.flags & ~kStorageFlags;
  if (flags != 0 || inode.project != 0) sum += uint64_t{inode.project} << 32U | flags;
  if (type == NodeType::kCharacterDevice || type == NodeType::kBlockDevice) {
    sum += bytes_sum(inode.map, 1);  // which device
  }
  SNAP_TRY(visit_inode_attributes(inode, [&](const Attribute& one) -> Result<void> {
    sum += attribute_sum(one);
    return {};
  }));
  if (inode.attribute_block != 0) {
    SNAP_ASSIGN(const uint64_t more, block_attribute_sum(inode.attribute_block));
    sum += more;
  }
  return sum;
}

// Many inodes may have one block.
Result<uint64_t> ExtFileSystem::block_attribute_sum(uint64_t block) {
  AttributeSum& known = attribute_sums_[block % attribute_sums_.size()];
  if (known.block == block) return known.sum;
  RawBytes bytes;
  SNAP_TRY(volume_.read_block(block, bytes));
  uint64_t sum = 0;
  SNAP_TRY(visit_block_attributes(bytes, block, super(), [&](const Attribute& one) -> Result<void> {
    sum += attribute_sum(one);
    return {};
  }));
  known = {block, sum};
  return sum;
}

bool ExtFileSystem::is_shown(uint64_t id) const {
  if (id == kRootInode) return true;
  return id >= super().first_inode && id != super().orphan_inode &&
         id != super().project_quota_inode;
}

Result<void> ExtFileSystem::visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) {
  SNAP_TRY(space_.prepare());
  Damage damage = space_.damage();
  pass_ = Pass{};
  auto visited = visit_groups(damage, visit);
  pass_.reset();
  SNAP_TRY(std::move(visited));
  return damage.result();
}

Result<void> ExtFileSystem::visit_groups(
    Damage& damage, const std::function<Result<void>(const FileNode&)>& visit) {
  for (uint32_t index = 0; index < super().groups; ++index) {
    if (super().descriptor_block_of(index) >= volume_.held_blocks()) break;
    SNAP_TRY(volume_.pages().poll());
    SNAP_TRY(visit_group(index, damage, visit));
  }
  return {};
}

// Else all that is visited would take longer than the image is large, times its nodes.
Result<void> ExtFileSystem::check_shared(uint64_t id) const {
  if (!pass_ || pass_->blocks <= volume_.held_blocks() ||
      (super().ro_compat & kRoSharedBlocks) != 0) {
    return {};
  }
  return damaged(fmt::format("inode {} and those before it have more blocks than the image", id));
}

Result<void> ExtFileSystem::visit_group(uint32_t index, Damage& damage,
                                        const std::function<Result<void>(const FileNode&)>& visit) {
  auto group = volume_.group(index);
  if (!group) return damage.note(std::move(group).error());
  if (group->used_inodes == 0 || !space_.has_table(index, *group)) return {};
  RawBytes bitmap;
  const auto read = volume_.read_block(group->inode_bitmap, bitmap);
  if (!read) return damage.note(read);
  if (!is_bitmap_sum(Bytes(bitmap).first(super().inodes_per_group / 8), group->inode_bitmap_sum,
                     super())) {
    damage.add(fmt::format("the checksum of the inode bitmap of group {} is wrong", index));
  }
  const uint32_t first = index * super().inodes_per_group + 1;
  for (uint32_t i = 0; i < group->used_inodes; ++i) {
    if ((std::to_integer<unsigned>(bitmap[i / 8]) >> (i % 8) & 1U) == 0) continue;
    if (i % 1024 == 0) SNAP_TRY(volume_.pages().poll());
    if (is_shown(first + i)) SNAP_TRY(visit_used(first + i, damage, visit));
  }
  return {};
}

Result<void> ExtFileSystem::visit_used(uint32_t id, Damage& damage,
                                       const std::function<Result<void>(const FileNode&)>& visit) {
  const auto inode = volume_.inode(id);
  if (!inode) return damage.note(inode.error());
  if ((inode->flags & kFlagAttributeValue) != 0) return {};
  const auto node = node_of(*inode);
  if (!node) return damage.note(node.error());
  return visit(*node);
}

Result<void> ExtFileSystem::visit_ids_at(uint64_t offset, uint64_t length,
                                         const std::function<Result<void>(uint64_t id)>& visit) {
  SNAP_TRY(space_.prepare());
  return space_.visit_inodes_at(offset, length,
                                [&](uint32_t first, uint32_t count) -> Result<void> {
                                  for (uint64_t id = first; id < uint64_t{first} + count; ++id) {
                                    if (is_shown(id)) SNAP_TRY(visit(id));
                                  }
                                  return {};
                                });
}

Result<void> ExtFileSystem::visit_runs(const FileNode& node,
                                       const std::function<Result<void>(const FileRun&)>& visit) {
  SNAP_ASSIGN(const Inode* const known, inode_of(node.id));
  const Inode inode = *known;  // visit may ask for others
  RunJoiner joiner(visit);
  // 0 of what a free inode is not known to have been.
  const uint64_t size = std::min(inode.size, node.size);
  uint64_t done = 0;
  if (has_blocks(inode) && !inode.is_inline()) {
    const unsigned bits = super().block_bits;
    const uint64_t end = div_round_up(size, super().block_size()) << bits;
    const bool counts = pass_ && inode.id > pass_->last_id;
    if (counts) pass_->last_id = inode.id;
    SNAP_TRY(walk_blocks(volume_, inode, 0, [&](const BlockRun& run) -> Result<bool> {
      if (counts && pass_ && run.place && *run.place < volume_.held_blocks()) {
        pass_->blocks += std::min(run.length, volume_.held_blocks() - *run.place);
      }
      SNAP_TRY(check_shared(inode.id));
      const uint64_t offset = run.first << bits;
      if (offset >= end) return false;
      const uint64_t length = std::min(run.length << bits, end - offset);
      SNAP_TRY(joiner.add(done, offset - done, std::nullopt));
      const auto place = run.place ? std::optional(*run.place << bits) : std::nullopt;
      SNAP_TRY(joiner.add(offset, length, place));
      done = offset + length;
      return true;
    }));
  }
  const bool within = inode.is_inline() || inode.is_short_link();
  if (done < size) SNAP_TRY(joiner.add(done, size - done, std::nullopt, !within));
  return joiner.finish();
}

Result<void> ExtFileSystem::visit_structures(
    const FileNode& node,
    const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) {
  SNAP_ASSIGN(const Inode* const known, inode_of(node.id));
  const Inode inode = *known;  // visit may ask for others
  const auto visit_block = [&](uint64_t block) {
    return visit(block << super().block_bits, block_size());
  };
  if (inode.attribute_block != 0) SNAP_TRY(visit_block(inode.attribute_block));
  if (!has_blocks(inode) || inode.is_inline()) return {};
  return walk_map_blocks(volume_, inode, visit_block);
}

// Of a file, a folder or a link that lies in its inode. What a file has less than its size is
// zeros.
Result<std::vector<std::byte>> ExtFileSystem::inline_content(const Inode& inode) {
  std::vector<std::byte> content(inode.map.begin(), inode.map.end());
  if (inode.is_inline()) {
    SNAP_ASSIGN(const std::vector<std::byte> rest, inline_rest(inode));
    content.insert(content.end(), rest.begin(), rest.end());
  }
  if (inode.size > content.size()) {
    // mke2fs makes such files, where all would be a hole: the kernel reads zeros.
    if (inode.type() == NodeType::kFile) return content;
    return damaged(fmt::format("inode {} has {} bytes within, but a size of {}", inode.id,
                               content.size(), inode.size));
  }
  content.resize(inode.size);
  return content;
}

Result<void> ExtFileSystem::visit_entries(
    const FileNode& folder, bool deleted,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  SNAP_ASSIGN(const Inode* const known, inode_of(folder.id));
  const Inode inode = *known;  // visit may ask for others
  if (folder.type != NodeType::kFolder || inode.type() != NodeType::kFolder) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("inode {} is no folder", folder.id));
  }
  FolderRules rules;
  rules.id = inode.id;
  rules.inodes = super().inodes;
  rules.has_types = (super().incompat & kIncompatFileType) != 0;
  rules.is_indexed = (inode.flags & kFlagIndexed) != 0;
  rules.is_encrypted = (inode.flags & kFlagEncrypted) != 0;
  rules.wants_deleted = deleted;
  Damage damage;
  const VisitEntry visit_one = [&](const FolderEntry& found) -> Result<void> {
    SNAP_ASSIGN(const FileEntry entry, entry_of(found, damage));
    return visit(entry);
  };
  SNAP_TRY(inode.is_inline() ? visit_inline_entries(inode, rules, damage, visit_one)
                             : visit_folder_blocks(inode, rules, damage, visit_one));
  return damage.result();
}

Result<FileEntry> ExtFileSystem::entry_of(const FolderEntry& found, Damage& damage) {
  FileEntry entry;
  entry.name = found.name;
  entry.id = found.id;
  entry.type = found.type;
  entry.deleted = found.deleted;
  if (found.deleted) return entry;
  const auto used = volume_.is_used(found.id);
  if (used) {
    entry.deleted = !*used;
  } else {
    SNAP_TRY(damage.note(used.error()));
  }
  if (entry.type == NodeType::kOther && !entry.deleted) {
    const auto inode = volume_.inode(found.id);
    if (inode) {
      entry.type = inode->type();
    } else {
      SNAP_TRY(damage.note(inode.error()));
    }
  }
  return entry;
}

Result<void> ExtFileSystem::visit_inline_entries(const Inode& inode, const FolderRules& rules,
                                                 Damage& damage, const VisitEntry& visit) {
  constexpr size_t kParentBytes = 4;
  const auto content = inline_content(inode);
  if (!content) return damage.note(content.error());
  const Bytes bytes = *content;
  if (bytes.size() < kParentBytes) {
    damage.add(fmt::format("folder {} has {} bytes", inode.id, bytes.size()));
    return {};
  }
  const size_t within = std::min(bytes.size(), kMapBytes);
  SNAP_TRY(visit_block_entries(bytes.first(within).subspan(kParentBytes), rules, damage, visit));
  return visit_block_entries(bytes.subspan(within), rules, damage, visit);
}

Result<void> ExtFileSystem::visit_folder_blocks(const Inode& inode, const FolderRules& rules,
                                                Damage& damage, const VisitEntry& visit) {
  const uint64_t blocks = inode.size >> super().block_bits;
  uint64_t seen = 0;
  std::optional<Error> ended;  // by visit
  SNAP_TRY(damage.note(walk_blocks(volume_, inode, 0, [&](BlockRun run) -> Result<bool> {
    if (run.first >= blocks) return false;
    run.length = std::min(run.length, blocks - run.first);
    if (!run.place) return true;
    seen += run.length;
    auto visited = visit_folder_run(inode, run, rules, damage, visit);
    if (!visited) ended = std::move(visited).error();
    return visited.has_value();
  })));
  if (ended) return *ended;
  if (blocks == 0 || inode.size % super().block_size() != 0 || seen != blocks) {
    damage.add(fmt::format("folder {} of {} bytes has {} blocks", inode.id, inode.size, seen));
  }
  return {};
}

Result<void> ExtFileSystem::visit_folder_run(const Inode& inode, const BlockRun& run,
                                             const FolderRules& rules, Damage& damage,
                                             const VisitEntry& visit) {
  RawBytes block;
  for (uint64_t i = 0; i < run.length; ++i) {
    SNAP_TRY(volume_.pages().poll());
    const auto read = volume_.read_block(*run.place + i, block);
    if (!read) {
      SNAP_TRY(damage.note(read));
      continue;
    }
    if (!is_folder_sum(block, run.first + i == 0, inode, super())) {
      damage.add(
          fmt::format("the checksum of block {} of folder {} is wrong", run.first + i, inode.id));
    }
    SNAP_TRY(visit_block_entries(block, rules, damage, visit));
  }
  return {};
}

Result<void> ExtFileSystem::read(const FileNode& node, uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return {};
  SNAP_ASSIGN(const Inode* const inode, inode_of(node.id));
  SNAP_CHECK(offset <= node.size && out.size() <= node.size - offset);
  if (inode->is_inline() || inode->is_short_link()) {
    SNAP_ASSIGN(const std::vector<std::byte> content, inline_content(*inode));
    const size_t from = std::min<uint64_t>(offset, content.size());
    const size_t length = std::min(out.size(), content.size() - from);
    std::copy_n(content.begin() + static_cast<ptrdiff_t>(from), length, out.begin());
    std::fill(out.begin() + static_cast<ptrdiff_t>(length), out.end(), std::byte{0});
    return {};
  }
  std::memset(out.data(), 0, out.size());
  if (!has_blocks(*inode)) return {};
  return read_blocks(*inode, offset, out);
}

Result<void> ExtFileSystem::read_blocks(const Inode& inode, uint64_t offset,
                                        std::span<std::byte> out) {
  const unsigned bits = super().block_bits;
  const uint64_t end = offset + out.size();
  return walk_blocks(volume_, inode, offset >> bits, [&](const BlockRun& run) -> Result<bool> {
    const uint64_t from = std::max(run.first << bits, offset);
    const uint64_t to = std::min((run.first + run.length) << bits, end);
    if (from >= to) return false;
    if (!run.place) return true;
    SNAP_TRY(volume_.pages().poll());
    const uint64_t place = (*run.place << bits) + (from - (run.first << bits));
    SNAP_TRY(volume_.pages().read_data(place, out.subspan(from - offset, to - from)));
    return to < end;
  });
}

Result<std::string> ExtFileSystem::target(const FileNode& link) {
  SNAP_ASSIGN(const Inode* const inode, inode_of(link.id));
  if (link.type != NodeType::kLink || inode->type() != NodeType::kLink) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("inode {} is no link", link.id));
  }
  if (inode->size > std::min(kMostTarget, super().block_size())) {
    return damaged(fmt::format("link {} has a target of {} bytes", link.id, inode->size));
  }
  std::string target(inode->size, '\0');
  FileNode node = link;
  node.size = inode->size;
  SNAP_TRY(read(node, 0, std::as_writable_bytes(std::span(target))));
  return target;
}

Result<uint64_t> ExtFileSystem::layout_sum() {
  SNAP_TRY(space_.prepare());
  const uint64_t how = uint64_t{super().inode_bytes} << 40U ^
                       uint64_t { super().block_bits } << 32U ^
                       uint64_t { super().incompat & ~kIncompatRecover } ^
                       uint64_t { super().inodes_per_group } << 8U;
  return space_.layout_sum() ^ how;
}

Result<std::pair<SpaceKind, uint64_t>> ExtFileSystem::space_at(uint64_t offset) {
  if (offset >= size()) return std::pair(SpaceKind::kFree, UINT64_MAX);
  SNAP_TRY(space_.prepare());
  return space_.at(offset);
}

}  // namespace

Result<std::unique_ptr<FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<ExtFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::ext
