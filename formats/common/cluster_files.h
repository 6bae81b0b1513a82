// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "formats/common/cluster_chain.h"
#include "formats/common/damage.h"
#include "libsnap/access/file_system.h"

namespace snaptool {

// What an entry says of a file, and where it lies.
struct StoredFile {
  access::FileNode node;  // without the size, where the entry has none
  ClusterChain::Kind kind = ClusterChain::Kind::kLinked;
  uint32_t first = 0;    // cluster
  bool is_sized = true;  // a folder of FAT is as long as its chain
  uint64_t written = 0;  // bytes; what comes after them reads as zeros
};

// What FAT and exFAT have in common: files are chains of clusters, and nothing but their entries
// says what they are. The id of a file is the place of its entry in the image, in units of 32
// bytes; the root's is 1. That an id is one is known by the folder that it lies in: of the folders
// come to last, the clusters are kept (some 20 MiB at most); for others, the tree is searched.
class ClusterFiles : public access::FileSystem {
 public:
  static constexpr uint64_t kRoot = 1;
  static constexpr uint64_t kSlotBytes = 32;
  // Requires: both outlive it.
  ClusterFiles(Image& image, const Cancel& cancel) : pages_(image, cancel) {}

  uint64_t root() const override { return kRoot; }
  bool has_stable_ids() const override { return false; }
  const std::vector<std::string>& warnings() const override { return warnings_; }

  Result<access::FileNode> node(uint64_t id) override;
  Result<void> visit_nodes(
      const std::function<Result<void>(const access::FileNode&)>& visit) override;
  Result<void> visit_ids_at(uint64_t offset, uint64_t length,
                            const std::function<Result<void>(uint64_t id)>& visit) override;
  Result<void> visit_runs(
      const access::FileNode& node,
      const std::function<Result<void>(const access::FileRun&)>& visit) override;
  Result<void> visit_entries(
      const access::FileNode& folder, bool deleted,
      const std::function<Result<void>(const access::FileEntry&)>& visit) override;
  Result<void> read(const access::FileNode& node, uint64_t offset,
                    std::span<std::byte> out) override;
  Result<std::string> target(const access::FileNode& link) override;

 protected:
  using VisitEntry = std::function<Result<void>(const access::FileEntry&)>;

  struct Piece {
    uint64_t place = 0;  // bytes
    uint64_t length = 0;
  };
  // The slots of a folder, of 32 bytes, in the order of its clusters.
  class FolderReader {
   public:
    FolderReader(ImagePages& pages, uint32_t first_cluster, std::vector<Piece> pieces)
        : pages_(pages), first_cluster_(first_cluster), pieces_(std::move(pieces)) {}
    uint32_t first_cluster() const { return first_cluster_; }
    // Goes to the next one; false: there is none. Errors: kInterrupted, those of ImagePages; after
    // them, it goes on behind what could not be read.
    Result<bool> next();
    std::span<const std::byte> slot() const {
      return std::span<const std::byte>(bytes_).subspan(at_, kSlotBytes);
    }
    uint64_t id() const { return (place_ + at_) / kSlotBytes; }
    uint64_t passed() const { return passed_; }  // slots, with this one

   private:
    ImagePages& pages_;
    const uint32_t first_cluster_;
    const std::vector<Piece> pieces_;
    size_t piece_ = 0;
    uint64_t within_ = 0;  // of the piece: what comes next
    uint64_t place_ = 0;   // of bytes_
    size_t at_ = 0;
    uint64_t passed_ = 0;
    RawBytes bytes_;
  };

  virtual ClusterTable& table() = 0;
  virtual uint64_t cluster_bytes() const = 0;
  virtual uint64_t place_of(uint32_t cluster) const = 0;
  virtual uint64_t most_folder_bytes() const = 0;
  virtual StoredFile root_file() const = 0;
  // Where the root lies, if it is no chain.
  virtual Piece fixed_root() const { return {}; }
  // What the entry at that place says. Errors: kNotFound where none is; kCorruption; those of
  // Image.
  virtual Result<StoredFile> stored_at(uint64_t id) = 0;
  // The entries of a folder, also free ones, until its end. Errors: kInterrupted, those of Image
  // and of visit; damage is noted.
  virtual Result<void> list(FolderReader& reader, const access::FileNode& folder, Damage& damage,
                            const VisitEntry& visit) = 0;

  // The slot before or after that one, in its folder; nothing: there is none.
  std::optional<uint64_t> id_before(uint64_t id) const;
  std::optional<uint64_t> id_after(uint64_t id) const;
  // Up to which byte the cluster at an offset, and those after it, are in use, or are not.
  Result<std::pair<access::SpaceKind, uint64_t>> space_in_heap(uint64_t offset);

  ImagePages pages_;
  std::vector<std::string> warnings_;

 private:
  struct Folder {
    StoredFile file;
    std::vector<uint32_t> clusters;
    std::string damage;  // why it has no more
    uint64_t slots = 0;  // up to its end
    bool is_listed = false;
  };
  struct Owner {
    uint32_t folder = 0;  // its first cluster
    uint32_t index = 0;   // in the folder
  };

  struct Space {
    uint32_t first = 0;  // cluster
    uint32_t end = 0;
    bool is_free = false;
  };

  bool is_in_fixed_root(uint64_t id) const;
  std::optional<uint32_t> cluster_with(uint64_t id) const;
  std::optional<uint64_t> id_beside(uint64_t id, bool before) const;
  Result<bool> is_entry(uint64_t id);
  Result<void> search(uint32_t cluster);
  StoredFile root_with_id() const;
  Result<const StoredFile*> stored(uint64_t id);
  Result<const StoredFile*> file_of(uint64_t id);
  Result<Folder*> folder_of(const StoredFile& file);
  Result<Folder> claim(const StoredFile& file);
  Result<std::optional<uint32_t>> next_of(const StoredFile& file, Folder& folder);
  std::string claim_next(const StoredFile& file, Folder& folder, uint32_t cluster);
  void keep(const Folder& folder, uint32_t first);
  void make_room();
  Result<void> list_folder(const StoredFile& file, const VisitEntry& visit);
  Result<ClusterChain*> chain_of(const StoredFile& file);
  Result<void> visit_tree(const std::function<bool()>& goes_on, const VisitEntry& visit,
                          Damage& damage);

  // By their first clusters; a root that is no chain has 0.
  std::unordered_map<uint32_t, Folder> folders_;
  std::unordered_map<uint32_t, Owner> owners_;  // by cluster
  std::vector<std::pair<uint32_t, Folder>> listing_;
  Space space_;  // that was asked for last
  std::optional<StoredFile> last_;
  std::optional<std::pair<uint64_t, ClusterChain>> chain_;  // of which id
  std::optional<uint64_t> pass_;  // while all nodes are visited: clusters that were walked
};

}  // namespace snaptool
