// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <utility>

#include "formats/common/image_pages.h"
#include "formats/hfsplus/layout.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool::hfsplus {

// Where the volume lies in the image.
struct Ground {
  ImagePages& image;
  uint64_t base = 0;  // of block 0
  uint32_t block_size = 0;
  uint32_t blocks = 0;

  uint64_t place_of(uint32_t block) const { return base + uint64_t{block} * block_size; }
  // Errors: kCorruption for one that lies outside.
  Result<void> check(const BlockExtent& extent) const;
};

// A file of the volume's own, whose extents are all known: no more than the volume has blocks.
class OwnFile {
 public:
  // Requires: `ground` outlives it. Errors: kCorruption.
  Result<void> open(const Ground& ground, uint64_t size, std::vector<BlockExtent> extents);
  uint64_t size() const { return size_; }
  const std::vector<BlockExtent>& extents() const { return extents_; }
  // Errors: those of ImagePages; kCorruption past its end.
  Result<void> read(uint64_t offset, std::span<std::byte> out) const;

 private:
  const Ground* ground_ = nullptr;
  uint64_t size_ = 0;
  std::vector<BlockExtent> extents_;
  std::vector<uint64_t> ends_;  // of each, in the file, blocks
};

struct TreeNode {
  uint32_t number = 0;
  uint32_t next = 0;
  uint32_t before = 0;
  int kind = 0;  // -1: a leaf, 0: of the index
  unsigned height = 0;
  unsigned count = 0;  // of records
  RawBytes bytes;

  Bytes record(unsigned index) const;
};

struct TreeRecord {
  Bytes key;  // without its length
  Bytes data;
};

// A B-tree: catalog, extents or attributes. Some of its nodes are kept, and a bit for each.
class Tree {
 public:
  using Order = int (*)(Bytes a, Bytes b);
  // Whether to go on.
  using Visit = std::function<Result<bool>(const TreeRecord&)>;

  // `name` for messages. Requires: `ground` outlives it. Errors: kCorruption, those of Image.
  Result<void> open(const Ground& ground, std::string_view name, uint64_t size,
                    std::vector<BlockExtent> extents);
  void set_order(Order order) { order_ = order; }
  bool folds_case() const { return key_compare_ != 0xbc; }
  const OwnFile& file() const { return file_; }
  uint32_t node_bytes() const { return node_bytes_; }
  uint32_t nodes() const { return nodes_; }

  // From the last record that is not after `key` on, along the leaves. What is damaged is passed
  // over. Errors: kInterrupted, those of Image and of visit.
  Result<void> walk(Bytes key, Damage& damage, const Visit& visit);
  // The same from the first one on.
  Result<void> walk_all(Damage& damage, const Visit& visit);
  // The record that has this key; visit is called at most once. Errors: the same, kCorruption.
  Result<void> find(Bytes key, const Visit& visit);
  // Those of one leaf; of another node none. Errors: kCorruption, those of Image and of visit.
  Result<void> visit_leaf(uint32_t number, const Visit& visit);

 private:
  using Node = std::shared_ptr<const TreeNode>;

  Result<void> read_map(uint32_t nodes);
  bool is_used(uint32_t number) const;
  Error broken(uint32_t number, std::string_view what) const;
  Result<Node> load(uint32_t number);
  Result<Node> load_as(uint32_t number, unsigned height);
  Result<TreeRecord> record_of(const TreeNode& node, unsigned index) const;
  Result<uint32_t> child_of(const TreeNode& node, unsigned index) const;
  // The last record that is not after the key; nothing: all are.
  Result<std::optional<unsigned>> last_not_after(const TreeNode& node, Bytes key) const;
  // Down to a node of that height.
  Result<Node> descend(Bytes key, unsigned height, uint32_t* broken_child);
  Result<uint32_t> leaf_after(Bytes key, uint32_t broken);
  Result<void> walk_leaves(Node leaf, unsigned from, Damage& damage, const Visit& visit);
  Result<Node> next_leaf(uint32_t number, const std::vector<std::byte>& last, uint32_t& left,
                         Damage& damage);

  const Ground* ground_ = nullptr;
  std::string name_;
  OwnFile file_;
  Order order_ = nullptr;
  uint32_t node_bytes_ = 512;
  uint32_t nodes_ = 0;  // 0: there is no tree
  uint32_t root_ = 0;
  uint32_t first_leaf_ = 0;
  unsigned depth_ = 0;
  unsigned key_compare_ = 0;
  bool fixed_index_keys_ = false;
  unsigned most_key_ = 0;
  std::vector<std::byte> map_;
  std::array<Node, 32> cache_;  // by the node's number
};

}  // namespace snaptool::hfsplus
