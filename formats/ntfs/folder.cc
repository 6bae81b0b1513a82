// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "libsnap/base/endian.h"

namespace snaptool::ntfs {
namespace {

constexpr size_t kEntryHead = 16;
constexpr size_t kNameHead = 66;
constexpr size_t kNodeHead = 16;
constexpr size_t kRootHead = 16;   // before the node's head
constexpr size_t kBlockHead = 24;  // the same
constexpr uint16_t kIsLast = 2;
constexpr unsigned kMostForeign = 64;  // entries of other folders, before one is left

struct NodeHead {
  size_t from = 0;  // these from the head on
  size_t used = 0;
  bool has_blocks = false;
};

// Requires: kNodeHead bytes.
NodeHead node_head(Bytes node) {
  NodeHead head;
  head.from = load_le<uint32_t>(node.data());
  head.used = load_le<uint32_t>(node.data() + 4);
  head.has_blocks = (std::to_integer<unsigned>(node[12]) & 1U) != 0;
  return head;
}

bool is_sound(const NodeHead& head, size_t size) {
  return head.from >= kNodeHead && head.from % 8 == 0 && head.from <= head.used &&
         head.used <= size;
}

bool is_plausible(Bytes entry, uint64_t folder) {
  const size_t length = load_le<uint16_t>(entry.data() + 8);
  const size_t key = load_le<uint16_t>(entry.data() + 10);
  const auto name = parse_file_name(entry.subspan(kEntryHead));
  return length % 8 == 0 && length >= kEntryHead + key && name && name->parent.id == folder &&
         !name->name.empty() && key == kNameHead + name->name.size() && name->space <= 3;
}

class IndexWalk {
 public:
  IndexWalk(Volume& volume, StreamReader& reader, const File& folder, bool deleted, Damage& damage,
            const VisitIndexEntry& visit)
      : volume_(volume),
        reader_(reader),
        folder_(folder),
        deleted_(deleted),
        damage_(damage),
        visit_(visit) {}

  Result<void> run() {
    const Stream* const root = folder_.find(kIndexRoot, folder_index_name());
    if (root == nullptr || !root->is_resident) {
      note("has no index");
      return {};
    }
    const auto value = value_of(volume_, *root);
    if (!value) return damage_.note(value.error());
    if (value->size() < kRootHead + kNodeHead) {
      note("has an index that is cut");
      return {};
    }
    block_bytes_ = load_le<uint32_t>(value->data() + 8);
    const Bytes node = Bytes(*value).subspan(kRootHead);
    SNAP_TRY(visit_node(node));
    const bool has_blocks = node_head(node).has_blocks;
    if (!has_blocks && !deleted_) return {};
    const Stream* const blocks = folder_.find(kIndexAllocation, folder_index_name());
    if (blocks == nullptr || blocks->is_resident) {
      if (has_blocks) note("has an index without blocks");
      return {};
    }
    return visit_blocks(*blocks, has_blocks);
  }

 private:
  void note(std::string_view what) { damage_.add(fmt::format("folder {} {}", folder_.id, what)); }

  Result<void> visit_node(Bytes node) {
    const NodeHead head = node_head(node);
    if (!is_sound(head, node.size())) {
      note("has a node of its index whose sizes are impossible");
      return {};
    }
    const VisitIndexEntry visit_own = [&](const IndexEntry& entry) -> Result<void> {
      if (entry.name.parent.id == folder_.id) return visit_(entry);
      ++foreign_;
      note(fmt::format("has an entry that is folder {}'s", entry.name.parent.id));
      return {};
    };
    SNAP_TRY(visit_node_entries(node, head.from, head.used, folder_.id, damage_, visit_own));
    if (!deleted_) return {};
    return visit_node_slack(node.subspan(head.used), folder_.id, visit_);
  }

  Result<void> visit_blocks(const Stream& blocks, bool are_used) {
    if (block_bytes_ < kStride || block_bytes_ > kMostRecordBytes ||
        !std::has_single_bit(block_bytes_)) {
      note(fmt::format("has an index with blocks of {} bytes", block_bytes_));
      return {};
    }
    const Stream* const bitmap = folder_.find(kBitmap, folder_index_name());
    if (bitmap == nullptr) note("has no bitmap of the blocks of its index");
    static const Stream kNone;
    BitReader bits(reader_, bitmap != nullptr ? *bitmap : kNone);
    std::optional<Error> ended;  // by visit
    SNAP_TRY(damage_.note(
        visit_segments(volume_, blocks, 0, [&](const Segment& segment) -> Result<bool> {
          if (segment.kind != Segment::Kind::kPlace) {
            if (are_used) note("has an index with holes");
            block_.clear();
            at_ = segment.offset + segment.length;
            return true;
          }
          const auto done = add_segment(segment, bits, bitmap == nullptr, are_used);
          if (!done) ended = done.error();
          return done.has_value() && foreign_ < kMostForeign;
        })));
    if (ended) return *std::move(ended);
    return {};
  }

  // Blocks may lie in several runs.
  Result<void> add_segment(const Segment& segment, BitReader& bits, bool all, bool are_used) {
    uint64_t place = segment.place;
    uint64_t left = segment.length;
    while (left > 0) {
      SNAP_TRY(volume_.pages().poll());
      const size_t had = block_.size();
      const size_t length = std::min<uint64_t>(left, block_bytes_ - had);
      if (place >= volume_.pages().size() && had == 0) {
        note("has an index past the image's end");
        at_ += left;
        return {};
      }
      block_.resize(had + length);
      const auto read = volume_.pages().read(place, std::span(block_).subspan(had));
      if (!read) {
        SNAP_TRY(damage_.note(read));
        std::fill(block_.begin() + static_cast<ptrdiff_t>(had), block_.end(), std::byte{0});
      }
      place += length;
      left -= length;
      if (block_.size() < block_bytes_) return {};
      const auto used = bits.at(at_ / block_bytes_);
      if (!used) SNAP_TRY(damage_.note(used.error()));
      SNAP_TRY(visit_block(are_used && (!used || *used || all)));
      at_ += block_bytes_;
      block_.clear();
      if (foreign_ >= kMostForeign) return {};
    }
    return {};
  }

  Result<void> visit_block(bool is_used) {
    if (!is_used && !deleted_) return {};
    const auto mended = mend_sectors(
        block_, "INDX",
        fmt::format("block {} of the index of folder {}", at_ / block_bytes_, folder_.id));
    if (!is_used) {
      return mended ? visit_node_slack(Bytes(block_).subspan(kBlockHead), folder_.id, visit_)
                    : Result<void>();
    }
    if (!mended) return damage_.note(mended);
    // Its number counts clusters, or sectors where a cluster is larger than a block.
    const uint64_t unit =
        volume_.boot().cluster_bytes() <= block_bytes_ ? volume_.boot().cluster_bytes() : kStride;
    if (load_le<uint64_t>(block_.data() + 16) != at_ / unit) {
      note(fmt::format("has another block where block {} of its index should be",
                       at_ / block_bytes_));
      return {};
    }
    return visit_node(Bytes(block_).subspan(kBlockHead));
  }

  Volume& volume_;
  StreamReader& reader_;
  const File& folder_;
  const bool deleted_;
  Damage& damage_;
  const VisitIndexEntry& visit_;
  uint32_t block_bytes_ = 0;
  std::vector<std::byte> block_;
  uint64_t at_ = 0;  // where block_ begins in the stream
  unsigned foreign_ = 0;
};

}  // namespace

Result<void> visit_node_entries(Bytes node, size_t from, size_t used, uint64_t folder,
                                Damage& damage, const VisitIndexEntry& visit) {
  Bytes rest = node.subspan(from, used - from);
  const auto cut = [&] {
    damage.add(fmt::format("folder {} has an entry that is cut", folder));
    return Result<void>();
  };
  while (true) {
    if (rest.size() < kEntryHead) return cut();
    const size_t length = load_le<uint16_t>(rest.data() + 8);
    const size_t key = load_le<uint16_t>(rest.data() + 10);
    if ((load_le<uint16_t>(rest.data() + 12) & kIsLast) != 0) return {};
    if (length % 8 != 0 || length < kEntryHead || key > length - kEntryHead ||
        length > rest.size()) {
      return cut();
    }
    const auto name = parse_file_name(rest.subspan(kEntryHead, key));
    if (name) {
      SNAP_TRY(visit({reference_of(load_le<uint64_t>(rest.data())), *name, false}));
    } else {
      damage.add(name.error());
    }
    rest = rest.subspan(length);
  }
}

Result<void> visit_node_slack(Bytes slack, uint64_t folder, const VisitIndexEntry& visit) {
  while (slack.size() > kEntryHead + kNameHead) {
    if (!is_plausible(slack, folder)) {
      slack = slack.subspan(std::min<size_t>(8, slack.size()));
      continue;
    }
    const size_t key = load_le<uint16_t>(slack.data() + 10);
    const auto name = parse_file_name(slack.subspan(kEntryHead, key));
    if (name) SNAP_TRY(visit({reference_of(load_le<uint64_t>(slack.data())), *name, true}));
    slack = slack.subspan(std::min((kEntryHead + key + 7) / 8 * 8, slack.size()));
  }
  return {};
}

Result<void> visit_index(Volume& volume, StreamReader& reader, const File& folder, bool deleted,
                         Damage& damage, const VisitIndexEntry& visit) {
  return IndexWalk(volume, reader, folder, deleted, damage, visit).run();
}

}  // namespace snaptool::ntfs
