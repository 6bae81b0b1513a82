// SPDX-License-Identifier: Apache-2.0
#include "formats/common/cluster_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileRun;
using access::NodeType;
using access::SpaceKind;
using LinkKind = ClusterLink::Kind;
using ChainKind = ClusterChain::Kind;

constexpr size_t kFolderPiece = 4 * kKiB;
constexpr size_t kMostOwners = 65'536;
constexpr uint32_t kSpacePiece = 16'384;  // clusters

Error broken_file(const FileNode& node, const std::string& reason) {
  return {ErrorCode::kCorruption,
          fmt::format("{} {}: {}", node.type == NodeType::kFolder ? "folder" : "file", node.id,
                      reason)};
}

Error no_entry(uint64_t id) {
  return {ErrorCode::kNotFound, fmt::format("there is no entry of a file at {}", id)};
}

}  // namespace

Result<bool> ClusterFiles::FolderReader::next() {
  at_ += kSlotBytes;
  if (at_ + kSlotBytes > bytes_.size()) {
    SNAP_TRY(pages_.poll());
    bytes_.clear();
    at_ = 0;
    while (piece_ < pieces_.size() && within_ >= pieces_[piece_].length) {
      ++piece_;
      within_ = 0;
    }
    if (piece_ == pieces_.size()) return false;
    const uint64_t place = pieces_[piece_].place + within_;
    const size_t length = std::min<uint64_t>(kFolderPiece, pieces_[piece_].length - within_);
    within_ += length;
    bytes_.resize(length);
    const auto read = pages_.read(place, bytes_);
    if (!read) {
      bytes_.clear();
      passed_ += length / kSlotBytes;
      return read.error();
    }
    place_ = place;
  }
  ++passed_;
  return true;
}

bool ClusterFiles::is_in_fixed_root(uint64_t id) const {
  const Piece root = fixed_root();
  return id >= root.place / kSlotBytes && id < (root.place + root.length) / kSlotBytes;
}

// Requires: id <= UINT64_MAX / kSlotBytes.
std::optional<uint32_t> ClusterFiles::cluster_with(uint64_t id) const {
  const uint64_t place = id * kSlotBytes;
  const uint64_t start = place_of(2);
  if (place < start) return std::nullopt;
  const uint64_t cluster = (place - start) / cluster_bytes() + 2;
  if (cluster > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(cluster);
}

std::optional<uint64_t> ClusterFiles::id_beside(uint64_t id, bool before) const {
  const uint64_t beside = before ? id - 1 : id + 1;
  if (is_in_fixed_root(id)) return is_in_fixed_root(beside) ? std::optional(beside) : std::nullopt;
  const auto cluster = cluster_with(id);
  if (!cluster) return std::nullopt;
  if (cluster_with(beside) == cluster) return beside;
  const auto owner = owners_.find(*cluster);
  if (owner == owners_.end()) return std::nullopt;
  const auto folder = folders_.find(owner->second.folder);
  if (folder == folders_.end()) return std::nullopt;
  const std::vector<uint32_t>& all = folder->second.clusters;
  const size_t index = owner->second.index;
  if (before ? index == 0 : index + 1 >= all.size()) return std::nullopt;
  const uint64_t start = place_of(all[before ? index - 1 : index + 1]) / kSlotBytes;
  return before ? start + cluster_bytes() / kSlotBytes - 1 : start;
}

std::optional<uint64_t> ClusterFiles::id_before(uint64_t id) const { return id_beside(id, true); }
std::optional<uint64_t> ClusterFiles::id_after(uint64_t id) const { return id_beside(id, false); }

// Whether the slot lies in a folder, and before its end.
Result<bool> ClusterFiles::is_entry(uint64_t id) {
  if (id > UINT64_MAX / kSlotBytes) return false;
  uint32_t first = 0;
  uint64_t slot = 0;
  if (is_in_fixed_root(id)) {
    slot = id - fixed_root().place / kSlotBytes;
  } else {
    const auto cluster = cluster_with(id);
    if (!cluster || !table().has(*cluster)) return false;
    if (owners_.count(*cluster) == 0) SNAP_TRY(search(*cluster));
    const auto owner = owners_.find(*cluster);
    if (owner == owners_.end()) return false;
    first = owner->second.folder;
    slot = uint64_t{owner->second.index} * (cluster_bytes() / kSlotBytes) +
           (id - place_of(*cluster) / kSlotBytes);
  }
  for (const auto& [key, folder] : listing_) {
    if (key == first) return true;
  }
  auto known = folders_.find(first);
  if (known == folders_.end() || !known->second.is_listed) {
    const StoredFile file = known == folders_.end() ? root_with_id() : known->second.file;
    Damage ignored;
    SNAP_TRY(ignored.note(list_folder(file, [](const FileEntry&) { return Result<void>(); })));
    known = folders_.find(first);
  }
  return known != folders_.end() && slot < known->second.slots;
}

// Looks for the folder that a cluster is of.
Result<void> ClusterFiles::search(uint32_t cluster) {
  Damage damage;
  SNAP_TRY(visit_tree([&] { return owners_.count(cluster) == 0; },
                      [](const FileEntry&) { return Result<void>(); }, damage));
  if (owners_.count(cluster) == 0) return damage.result();
  return {};
}

StoredFile ClusterFiles::root_with_id() const {
  StoredFile file = root_file();
  file.node.id = kRoot;
  return file;
}

// Requires: its folder is known, or being listed.
Result<const StoredFile*> ClusterFiles::stored(uint64_t id) {
  if (last_ && last_->node.id == id) return &*last_;
  last_.reset();
  StoredFile file = root_with_id();
  if (id != kRoot) {
    SNAP_ASSIGN(file, stored_at(id));
  }
  file.node.id = id;
  if (!file.is_sized && !file.node.deleted) {
    SNAP_ASSIGN(const Folder* const folder, folder_of(file));
    file.node.size = fixed_root().length > 0 && id == kRoot
                         ? fixed_root().length
                         : folder->clusters.size() * cluster_bytes();
    file.written = file.node.size;
  }
  last_ = std::move(file);
  return &*last_;
}

// Of any number: whether it is an id is looked up.
Result<const StoredFile*> ClusterFiles::file_of(uint64_t id) {
  if (id != kRoot && !(last_ && last_->node.id == id)) {
    SNAP_ASSIGN(const bool known, is_entry(id));
    if (!known) return no_entry(id);
  }
  return stored(id);
}

Result<FileNode> ClusterFiles::node(uint64_t id) {
  SNAP_ASSIGN(const StoredFile* const file, file_of(id));
  return file->node;
}

Result<ClusterFiles::Folder*> ClusterFiles::folder_of(const StoredFile& file) {
  const bool is_fixed = file.node.id == kRoot && fixed_root().length > 0;
  if (file.first == 0 && !is_fixed) return broken_file(file.node, "it has no clusters");
  const auto known = folders_.find(file.first);
  if (known == folders_.end()) {
    make_room();
    SNAP_ASSIGN(Folder folder, claim(file));
    return &(folders_[file.first] = std::move(folder));
  }
  if (known->second.file.node.id != file.node.id) {
    return broken_file(file.node,
                       fmt::format("it has the clusters of folder {}", known->second.file.node.id));
  }
  return &known->second;
}

// Finds its clusters. What another folder has is not its own, so that no cluster is listed twice.
Result<ClusterFiles::Folder> ClusterFiles::claim(const StoredFile& file) {
  Folder folder;
  folder.file = file;
  if (file.first == 0) return folder;
  const uint64_t bytes = std::min(file.is_sized ? file.node.size : UINT64_MAX, most_folder_bytes());
  const uint64_t most = std::max<uint64_t>(div_round_up(bytes, cluster_bytes()), 1);
  std::optional<uint32_t> next = file.first;
  while (next && folder.clusters.size() < most) {
    folder.damage = claim_next(file, folder, *next);
    auto after = folder.damage.empty() ? next_of(file, folder)
                                       : Result<std::optional<uint32_t>>(std::nullopt);
    if (!after) {
      for (const uint32_t cluster : folder.clusters) owners_.erase(cluster);
      return std::move(after).error();
    }
    next = *after;
  }
  if (next && !(file.is_sized && file.node.size <= bytes))
    folder.damage = fmt::format("it has more than {} bytes", bytes);
  return folder;
}

// The cluster that follows the last one; nothing: it is the last one, and whether it may be is
// said.
Result<std::optional<uint32_t>> ClusterFiles::next_of(const StoredFile& file, Folder& folder) {
  if (folder.clusters.size() % 1024 == 0) SNAP_TRY(pages_.poll());
  const uint32_t last = folder.clusters.back();
  if (file.kind != ChainKind::kLinked) return std::optional(last + 1);
  const auto link = table().next(last);
  if (!link) {
    if (link.error().code() != ErrorCode::kCorruption) return link.error();
    folder.damage = link.error().describe();
    return std::optional<uint32_t>();
  }
  if (link->kind == LinkKind::kCluster) return std::optional(link->next);
  const uint64_t bytes = folder.clusters.size() * cluster_bytes();
  if (link->kind != LinkKind::kEnd || (file.is_sized && bytes < file.node.size)) {
    folder.damage =
        ClusterChain::reason_of(*link, last, static_cast<uint32_t>(folder.clusters.size()));
  }
  return std::optional<uint32_t>();
}

// Why the cluster cannot be the folder's; empty: now it is.
std::string ClusterFiles::claim_next(const StoredFile& file, Folder& folder, uint32_t cluster) {
  if (!table().has(cluster)) return fmt::format("its cluster {} is none", cluster);
  if (place_of(cluster) >= pages_.size()) {
    return fmt::format("its cluster {} lies past the end of the image", cluster);
  }
  const Owner own{file.first, static_cast<uint32_t>(folder.clusters.size())};
  const auto [owner, is_new] = owners_.try_emplace(cluster, own);
  if (!is_new) {
    return owner->second.folder == file.first
               ? fmt::format("its chain leads back to itself after {} clusters", own.index)
               : fmt::format("its cluster {} is in another folder, too", cluster);
  }
  folder.clusters.push_back(cluster);
  return {};
}

// Of very many folders, all are forgotten but those that are being listed.
void ClusterFiles::make_room() {
  if (owners_.size() < kMostOwners) return;
  owners_.clear();
  folders_.clear();
  for (const auto& [first, folder] : listing_) keep(folder, first);
}

void ClusterFiles::keep(const Folder& folder, uint32_t first) {
  for (uint32_t i = 0; i < folder.clusters.size(); ++i) owners_[folder.clusters[i]] = {first, i};
  folders_[first] = folder;
}

Result<void> ClusterFiles::list_folder(const StoredFile& file, const VisitEntry& visit) {
  if (file.is_sized && file.node.size == 0) return {};  // exFAT may have such
  SNAP_ASSIGN(const Folder* const found, folder_of(file));
  const Folder folder = *found;
  Damage damage;
  if (!folder.damage.empty()) damage.add(broken_file(file.node, folder.damage));
  std::vector<Piece> pieces;
  if (file.first == 0) pieces.push_back(fixed_root());
  uint64_t left = file.is_sized ? file.node.size : UINT64_MAX;
  for (const uint32_t cluster : folder.clusters) {
    const uint64_t length = std::min(left, cluster_bytes()) / kSlotBytes * kSlotBytes;
    pieces.push_back({place_of(cluster), length});
    left -= std::min(left, cluster_bytes());
  }
  FolderReader reader(pages_, file.first, std::move(pieces));
  listing_.emplace_back(file.first, folder);
  const auto listed = list(reader, file.node, damage, visit);
  listing_.pop_back();
  SNAP_TRY(listed);
  const auto known = folders_.find(file.first);
  if (known != folders_.end() && known->second.file.node.id == file.node.id) {
    known->second.slots = reader.passed();
    known->second.is_listed = true;
  }
  return damage.result();
}

// Every folder once, and what is in it. Damage is noted.
Result<void> ClusterFiles::visit_tree(const std::function<bool()>& goes_on, const VisitEntry& visit,
                                      Damage& damage) {
  std::vector<StoredFile> ahead{root_with_id()};
  std::optional<Error> ended;                        // by visit
  uint64_t left = uint64_t{table().clusters()} + 1;  // clusters, or folders without
  while (!ahead.empty()) {
    const StoredFile folder = std::move(ahead.back());
    ahead.pop_back();
    if (!goes_on()) return {};
    const auto known = folder_of(folder);
    const uint64_t clusters = known ? std::max<uint64_t>((*known)->clusters.size(), 1) : 1;
    if (clusters > left) {
      damage.add("its folders have more clusters than there are");
      return {};
    }
    left -= clusters;
    const size_t before = ahead.size();
    SNAP_TRY(damage.note(list_folder(folder, [&](const FileEntry& entry) -> Result<void> {
      if (entry.deleted) return {};
      auto visited = visit(entry);
      if (!visited) ended = visited.error();
      if (!visited || entry.type != NodeType::kFolder) return visited;
      const auto file = stored(entry.id);
      if (!file) return damage.note(file.error());
      ahead.push_back(**file);
      return {};
    })));
    if (ended) return *std::move(ended);
    std::reverse(ahead.begin() + static_cast<ptrdiff_t>(before), ahead.end());
  }
  return {};
}

Result<void> ClusterFiles::visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) {
  Damage damage;
  SNAP_ASSIGN(const FileNode top, node(kRoot));
  pass_ = 0;
  auto visited = visit(top);
  if (visited) {
    visited = visit_tree([] { return true; },
                         [&](const FileEntry& entry) -> Result<void> {
                           auto found = node(entry.id);
                           if (!found) return damage.note(std::move(found).error());
                           return visit(*found);
                         },
                         damage);
  }
  pass_.reset();
  SNAP_TRY(std::move(visited));
  return damage.result();
}

Result<void> ClusterFiles::visit_ids_at(uint64_t /*offset*/, uint64_t /*length*/,
                                        const std::function<Result<void>(uint64_t id)>& /*visit*/) {
  return Error(ErrorCode::kUnsupported,
               fmt::format("{} has no inodes that would lie anywhere", type()));
}

// While all nodes are visited, the clusters of all chains are no more than there are: else all that
// is visited would take longer than the image is large, times its files.
Result<ClusterChain*> ClusterFiles::chain_of(const StoredFile& file) {
  if (chain_ && chain_->first == file.node.id) return &chain_->second;
  chain_.reset();
  const auto is_too_much = [&] { return pass_ && *pass_ > table().clusters(); };
  const char* const kTooMuch = "it and those before it have more clusters than there are";
  if (is_too_much()) return broken_file(file.node, kTooMuch);
  SNAP_ASSIGN(ClusterChain chain,
              ClusterChain::check(table(), pages_, file.kind, file.first,
                                  div_round_up(file.node.size, cluster_bytes())));
  if (pass_ && !file.node.deleted) *pass_ += chain.length();
  if (is_too_much()) return broken_file(file.node, kTooMuch);
  chain_.emplace(file.node.id, std::move(chain));
  return &chain_->second;
}

Result<void> ClusterFiles::visit_runs(const FileNode& node,
                                      const std::function<Result<void>(const FileRun&)>& visit) {
  SNAP_ASSIGN(const StoredFile* const found, file_of(node.id));
  const StoredFile file = *found;
  const uint64_t size = file.node.size;
  if (size == 0) return {};
  if (file.first == 0 && node.id == kRoot) return visit({0, size, fixed_root().place});
  SNAP_ASSIGN(const ClusterChain* const known, chain_of(file));
  ClusterChain chain = *known;  // visit may ask for others
  const uint64_t written = std::min(file.written, size);
  uint64_t done = 0;
  for (uint32_t index = 0; index < chain.length() && done < written;) {
    SNAP_TRY(pages_.poll());
    SNAP_ASSIGN(const ClusterChain::Run run, chain.run_at(table(), index, chain.length() - index));
    uint64_t length = run.length * cluster_bytes();
    if (written < size) length = std::min(length, written - done);
    SNAP_TRY(visit({done, length, place_of(run.cluster)}));
    done += length;
    index += run.length;
  }
  const uint64_t end = std::min(size, chain.length() * cluster_bytes());
  if (done == written && written < end) {
    SNAP_TRY(visit({written, end - written, std::nullopt, true}));
  }
  if (!chain.reason().empty()) return broken_file(file.node, chain.reason());
  return {};
}

Result<void> ClusterFiles::visit_entries(
    const FileNode& folder, bool deleted,
    const std::function<Result<void>(const FileEntry&)>& visit) {
  SNAP_ASSIGN(const StoredFile* const found, file_of(folder.id));
  const StoredFile file = *found;
  if (folder.type != NodeType::kFolder || file.node.type != NodeType::kFolder) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("file {} is no folder", folder.id));
  }
  if (file.node.deleted) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("folder {} is deleted: what was in it is not read", folder.id));
  }
  return list_folder(file, [&](const FileEntry& entry) -> Result<void> {
    return entry.deleted && !deleted ? Result<void>() : visit(entry);
  });
}

Result<void> ClusterFiles::read(const FileNode& node, uint64_t offset, std::span<std::byte> out) {
  if (out.empty()) return {};
  SNAP_ASSIGN(const StoredFile* const file, file_of(node.id));
  SNAP_CHECK(offset <= file->node.size && out.size() <= file->node.size - offset);
  if (file->first == 0 && node.id == kRoot) {
    return pages_.read_data(fixed_root().place + offset, out);
  }
  const uint64_t written = std::min(file->written, file->node.size);
  const size_t there =
      offset < written ? static_cast<size_t>(std::min<uint64_t>(out.size(), written - offset)) : 0;
  SNAP_ASSIGN(ClusterChain* const chain, chain_of(*file));
  if (there < out.size() && chain->length() < div_round_up(offset + out.size(), cluster_bytes())) {
    return broken_file(file->node, chain->reason());
  }
  std::fill(out.begin() + static_cast<ptrdiff_t>(there), out.end(), std::byte{0});
  out = out.first(there);
  while (!out.empty()) {
    SNAP_TRY(pages_.poll());
    const uint64_t index = offset / cluster_bytes();
    if (index >= chain->length()) return broken_file(file->node, chain->reason());
    const uint64_t within = offset % cluster_bytes();
    const uint64_t needed = div_round_up(within + out.size(), cluster_bytes());
    SNAP_ASSIGN(const ClusterChain::Run run,
                chain->run_at(table(), static_cast<uint32_t>(index),
                              static_cast<uint32_t>(std::min<uint64_t>(needed, UINT32_MAX))));
    const size_t length = std::min<uint64_t>(out.size(), run.length * cluster_bytes() - within);
    SNAP_TRY(pages_.read_data(place_of(run.cluster) + within, out.first(length)));
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

Result<std::string> ClusterFiles::target(const FileNode& link) {
  return Error(ErrorCode::kInvalidArgument, fmt::format("file {} is no link", link.id));
}

Result<std::pair<SpaceKind, uint64_t>> ClusterFiles::space_in_heap(uint64_t offset) {
  const auto cluster = static_cast<uint32_t>((offset - place_of(2)) / cluster_bytes() + 2);
  if (cluster < space_.first || cluster >= space_.end) {
    space_ = {};
    SNAP_ASSIGN(const bool free, table().is_free(cluster));
    uint32_t end = cluster + 1;
    while (table().has(end) && end - cluster < kSpacePiece) {
      SNAP_ASSIGN(const bool other, table().is_free(end));
      if (other != free) break;
      ++end;
    }
    space_ = {cluster, end, free};
  }
  return std::pair(space_.is_free ? SpaceKind::kFree : SpaceKind::kFile, place_of(space_.end));
}

}  // namespace snaptool
