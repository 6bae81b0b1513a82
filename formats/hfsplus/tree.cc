// SPDX-License-Identifier: Apache-2.0
#include "formats/hfsplus/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::hfsplus {
namespace {

constexpr size_t kNodeHead = 14;
constexpr unsigned kMostDepth = 16;
constexpr uint32_t kMostNode = 32768;
constexpr int kLeaf = -1;
constexpr int kIndex = 0;
constexpr int kHeader = 1;
constexpr int kMap = 2;

}  // namespace

Result<void> Ground::check(const BlockExtent& extent) const {
  if (extent.start < blocks && extent.count <= blocks - extent.start) return {};
  return damaged(
      fmt::format("{} blocks from {} on are named, of {}", extent.count, extent.start, blocks));
}

Result<void> OwnFile::open(const Ground& ground, uint64_t size, std::vector<BlockExtent> extents) {
  ground_ = &ground;
  uint64_t blocks = 0;
  std::vector<uint64_t> ends;
  for (const BlockExtent& extent : extents) {
    SNAP_TRY(ground.check(extent));
    blocks += extent.count;
    ends.push_back(blocks);
  }
  if (blocks > ground.blocks) return damaged("a file of the volume's own has blocks twice");
  if (size > blocks * ground.block_size) {
    return damaged(
        fmt::format("a file of the volume's own has {} bytes in {} blocks", size, blocks));
  }
  size_ = size;
  extents_ = std::move(extents);
  ends_ = std::move(ends);
  return {};
}

Result<void> OwnFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    return damaged(fmt::format("a file of {} bytes of the volume's own is asked for more", size_));
  }
  while (!out.empty()) {
    const uint64_t block = offset / ground_->block_size;
    const size_t i =
        static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), block) - ends_.begin());
    const uint64_t first = (ends_[i] - extents_[i].count) * ground_->block_size;
    const uint64_t end = ends_[i] * ground_->block_size;
    const size_t length = std::min<uint64_t>(out.size(), end - offset);
    SNAP_TRY(ground_->image.read_data(ground_->place_of(extents_[i].start) + (offset - first),
                                      out.first(length)));
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

// The offsets stand at the end, the first one last; one more than there are records.
Bytes TreeNode::record(unsigned index) const {
  const std::byte* const end = bytes.data() + bytes.size();
  const size_t from = load_be<uint16_t>(end - 2 * (index + 1));
  const size_t to = load_be<uint16_t>(end - 2 * (index + 2));
  return Bytes(bytes).subspan(from, to - from);
}

Error Tree::broken(uint32_t number, std::string_view what) const {
  return damaged(fmt::format("node {} of the {} {}", number, name_, what));
}

Result<void> Tree::open(const Ground& ground, std::string_view name, uint64_t size,
                        std::vector<BlockExtent> extents) {
  ground_ = &ground;
  name_ = name;
  SNAP_TRY(file_.open(ground, size, std::move(extents)));
  if (size == 0) return {};
  std::array<std::byte, kNodeHead + 106> head{};
  SNAP_TRY(file_.read(0, head));
  const std::byte* const fields = head.data() + kNodeHead;
  node_bytes_ = load_be<uint16_t>(fields + 18);
  if (std::to_integer<int8_t>(head[8]) != kHeader || !std::has_single_bit(node_bytes_) ||
      node_bytes_ < 512 || node_bytes_ > kMostNode) {
    return broken(0, "is no header");
  }
  depth_ = load_be<uint16_t>(fields);
  root_ = load_be<uint32_t>(fields + 2);
  first_leaf_ = load_be<uint32_t>(fields + 10);
  most_key_ = load_be<uint16_t>(fields + 20);
  key_compare_ = std::to_integer<unsigned>(fields[37]);
  fixed_index_keys_ = (load_be<uint32_t>(fields + 38) & 4U) == 0;
  const uint32_t nodes = load_be<uint32_t>(fields + 22);
  // No more than the image has room for, so that no number makes a walk or the map longer.
  const uint64_t most = std::min(size, ground.image.size()) / node_bytes_;
  if (nodes == 0 || nodes > most || depth_ > kMostDepth || (root_ == 0) != (depth_ == 0)) {
    return damaged(
        fmt::format("the {} of {} nodes and {} levels is impossible", name_, nodes, depth_));
  }
  return read_map(nodes);
}

Result<void> Tree::read_map(uint32_t nodes) {
  nodes_ = nodes;
  uint32_t number = 0;
  unsigned record = 2;
  while (map_.size() * 8 < nodes) {
    SNAP_ASSIGN(const Node node, load(number));
    if (node->kind != (number == 0 ? kHeader : kMap) || node->count <= record) {
      return broken(number, "has no map");
    }
    const Bytes more = node->record(record);
    const size_t missing = (nodes + 7) / 8 - map_.size();
    if (more.size() < missing && (node->next == 0 || more.size() < node_bytes_ / 4)) {
      return damaged(fmt::format("the map of the {} ends before its nodes", name_));
    }
    map_.insert(map_.end(), more.begin(),
                more.begin() + static_cast<ptrdiff_t>(std::min(more.size(), missing)));
    number = node->next;
    record = 0;
  }
  return {};
}

bool Tree::is_used(uint32_t number) const {
  return (std::to_integer<unsigned>(map_[number / 8]) >> (7 - number % 8) & 1U) != 0;
}

// Requires: it is within; reads it whether it is in use or not.
Result<Tree::Node> Tree::load(uint32_t number) {
  Node& kept = cache_[number % cache_.size()];
  if (kept && kept->number == number) return kept;
  if (number >= nodes_) return broken(number, fmt::format("is named, of {}", nodes_));
  SNAP_TRY(ground_->image.poll());
  auto node = std::make_shared<TreeNode>();
  node->bytes.resize(node_bytes_);
  SNAP_TRY(file_.read(uint64_t{number} * node_bytes_, node->bytes));
  const std::byte* const at = node->bytes.data();
  node->number = number;
  node->next = load_be<uint32_t>(at);
  node->before = load_be<uint32_t>(at + 4);
  node->kind = std::to_integer<int8_t>(at[8]);
  node->height = std::to_integer<unsigned>(at[9]);
  node->count = load_be<uint16_t>(at + 10);
  if (2 * (size_t{node->count} + 1) > node_bytes_ - kNodeHead) {
    return broken(number, fmt::format("has {} records", node->count));
  }
  const size_t room = node_bytes_ - 2 * (size_t{node->count} + 1);
  size_t before = kNodeHead;
  for (unsigned i = 0; i <= node->count; ++i) {
    const size_t offset = load_be<uint16_t>(at + node_bytes_ - 2 * (i + 1));
    if (offset < before || offset > room || (i == 0 && offset != kNodeHead)) {
      return broken(number, fmt::format("has a record at {}", offset));
    }
    before = offset;
  }
  kept = std::move(node);
  return kept;
}

// A live one. Height 1: a leaf.
Result<Tree::Node> Tree::load_as(uint32_t number, unsigned height) {
  if (number == 0 || number >= nodes_)
    return broken(number, fmt::format("is named, of {}", nodes_));
  if (!is_used(number)) return broken(number, "is free, but in the tree");
  SNAP_ASSIGN(Node node, load(number));
  if (node->height != height || node->kind != (height == 1 ? kLeaf : kIndex) || node->count == 0) {
    return broken(number, fmt::format("is not of level {}", height));
  }
  return node;
}

Result<TreeRecord> Tree::record_of(const TreeNode& node, unsigned index) const {
  const Bytes record = node.record(index);
  const size_t length = record.size() < 2 ? 0 : load_be<uint16_t>(record.data());
  if (length == 0 || length > record.size() - 2) {
    return broken(node.number, fmt::format("has a key of {} bytes", length));
  }
  const size_t skip = std::min(record.size(), (2 + length + 1) & ~size_t{1});
  return TreeRecord{record.subspan(2, length), record.subspan(skip)};
}

Result<uint32_t> Tree::child_of(const TreeNode& node, unsigned index) const {
  SNAP_ASSIGN(const TreeRecord record, record_of(node, index));
  Bytes data = record.data;
  if (fixed_index_keys_) {
    const Bytes all = node.record(index);
    data = all.subspan(std::min<size_t>(all.size(), 2 + most_key_));
  }
  if (data.size() < 4) return broken(node.number, "has an entry without a child");
  return load_be<uint32_t>(data.data());
}

Result<std::optional<unsigned>> Tree::last_not_after(const TreeNode& node, Bytes key) const {
  unsigned low = 0;
  unsigned high = node.count;
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    SNAP_ASSIGN(const TreeRecord record, record_of(node, middle));
    if (order_(record.key, key) <= 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? std::nullopt : std::optional(low - 1);
}

Result<Tree::Node> Tree::descend(Bytes key, unsigned height, uint32_t* broken_child) {
  SNAP_ASSIGN(Node node, load_as(root_, depth_));
  while (node->height > height) {
    SNAP_ASSIGN(const std::optional<unsigned> at, last_not_after(*node, key));
    SNAP_ASSIGN(const uint32_t child, child_of(*node, at.value_or(0)));
    if (node->height == 2 && broken_child != nullptr) *broken_child = child;
    SNAP_ASSIGN(node, load_as(child, node->height - 1));
  }
  return node;
}

// What the index has behind a leaf that cannot be read; 0: nothing that is known.
Result<uint32_t> Tree::leaf_after(Bytes key, uint32_t broken) {
  if (depth_ < 2) return 0U;
  SNAP_ASSIGN(Node node, descend(key, 2, nullptr));
  SNAP_ASSIGN(const std::optional<unsigned> at, last_not_after(*node, key));
  bool passed = false;
  unsigned i = at.value_or(0);
  for (int siblings = 0; siblings < 3; ++siblings) {
    for (; i < node->count; ++i) {
      SNAP_ASSIGN(const uint32_t child, child_of(*node, i));
      if (passed) return child;
      passed = child == broken;
    }
    if (node->next == 0) return 0U;
    SNAP_ASSIGN(node, load_as(node->next, 2));
    i = 0;
  }
  return 0U;
}

Result<Tree::Node> Tree::next_leaf(uint32_t number, const std::vector<std::byte>& last,
                                   uint32_t& left, Damage& damage) {
  while (number != 0) {
    SNAP_TRY(ground_->image.poll());
    if (left == 0) {
      damage.add(fmt::format("the leaves of the {} lead to themselves", name_));
      return Node();
    }
    --left;
    auto leaf = load_as(number, 1);
    if (leaf) return leaf;
    SNAP_TRY(damage.note(leaf.error()));
    auto after = leaf_after(last, number);
    if (!after) {
      SNAP_TRY(damage.note(after.error()));
      return Node();
    }
    number = *after;
  }
  return Node();
}

Result<void> Tree::walk_leaves(Node leaf, unsigned from, Damage& damage, const Visit& visit) {
  std::vector<std::byte> last;  // key
  uint32_t left = nodes_;
  while (leaf) {
    for (unsigned i = from; i < leaf->count; ++i) {
      auto record = record_of(*leaf, i);
      if (!record) {
        damage.add(std::move(record).error());
        continue;
      }
      // Loops end here: keys only ascend.
      if (!last.empty() && order_(record->key, last) <= 0) {
        damage.add(broken(leaf->number, "is out of order"));
        if (i == 0) return {};
        continue;
      }
      last.assign(record->key.begin(), record->key.end());
      SNAP_ASSIGN(const bool more, visit(*record));
      if (!more) return {};
    }
    from = 0;
    SNAP_ASSIGN(leaf, next_leaf(leaf->next, last, left, damage));
  }
  return {};
}

Result<void> Tree::walk(Bytes key, Damage& damage, const Visit& visit) {
  if (root_ == 0) return {};
  uint32_t broken_leaf = 0;
  auto leaf = descend(key, 1, &broken_leaf);
  std::vector<std::byte> last(key.begin(), key.end());
  if (!leaf) {
    SNAP_TRY(damage.note(leaf.error()));
    if (broken_leaf == 0) return {};
    uint32_t left = nodes_;
    SNAP_ASSIGN(Node next, next_leaf(broken_leaf, last, left, damage));
    return walk_leaves(std::move(next), 0, damage, visit);
  }
  const auto at = last_not_after(**leaf, key);
  if (!at) return damage.note(at.error());
  return walk_leaves(*leaf, at->value_or(0), damage, visit);
}

Result<void> Tree::walk_all(Damage& damage, const Visit& visit) {
  if (root_ == 0) return {};
  uint32_t left = nodes_;
  SNAP_ASSIGN(Node leaf, next_leaf(first_leaf_, {}, left, damage));
  if (!leaf) damage.add(fmt::format("the {} has no first leaf", name_));
  return walk_leaves(std::move(leaf), 0, damage, visit);
}

Result<void> Tree::find(Bytes key, const Visit& visit) {
  if (root_ == 0) return {};
  SNAP_ASSIGN(const Node leaf, descend(key, 1, nullptr));
  SNAP_ASSIGN(const std::optional<unsigned> at, last_not_after(*leaf, key));
  if (!at) return {};
  SNAP_ASSIGN(const TreeRecord record, record_of(*leaf, *at));
  if (order_(record.key, key) == 0) SNAP_TRY(visit(record));
  return {};
}

Result<void> Tree::visit_leaf(uint32_t number, const Visit& visit) {
  if (number == 0 || number >= nodes_ || !is_used(number)) return {};
  SNAP_ASSIGN(const Node node, load(number));
  if (node->kind != kLeaf) return {};
  for (unsigned i = 0; i < node->count; ++i) {
    SNAP_ASSIGN(const TreeRecord record, record_of(*node, i));
    SNAP_ASSIGN(const bool more, visit(record));
    if (!more) return {};
  }
  return {};
}

}  // namespace snaptool::hfsplus
