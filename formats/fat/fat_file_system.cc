// SPDX-License-Identifier: Apache-2.0
#include "formats/fat/fat_file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/common/cluster_files.h"
#include "formats/fat/names.h"
#include "formats/fat/table.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/crc32.h"

namespace snaptool::fat {
namespace {

using access::FileEntry;
using access::FileNode;
using access::NodeType;
using access::SpaceKind;

constexpr uint64_t kMostFolder = 65'536 * kSlotBytes;
constexpr uint64_t kMostCompared = 16 * kMiB;  // of the FATs
constexpr uint8_t kUnmountedBadly = 1;
constexpr uint8_t kMediumErrors = 2;

class FatFileSystem : public ClusterFiles {
 public:
  FatFileSystem(Image& image, const Cancel& cancel)
      : ClusterFiles(image, cancel), table_(pages_, boot_) {}
  Result<void> open();

  std::string_view type() const override {
    return boot_.bits == 12 ? "fat12" : boot_.bits == 16 ? "fat16" : "fat32";
  }
  std::string label() const override { return root_label_.value_or(boot_.label); }
  std::string uuid() const override {
    if (!boot_.serial) return "";
    return fmt::format("{:04X}-{:04X}", *boot_.serial >> 16U, *boot_.serial & 0xffffU);
  }
  uint64_t block_size() const override { return boot_.cluster_bytes; }
  uint64_t size() const override { return boot_.size; }
  bool has_local_times() const override { return true; }
  Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) override;

 protected:
  ClusterTable& table() override { return table_; }
  uint64_t cluster_bytes() const override { return boot_.cluster_bytes; }
  uint64_t place_of(uint32_t cluster) const override {
    return boot_.heap_start + (uint64_t{cluster} - 2) * boot_.cluster_bytes;
  }
  uint64_t most_folder_bytes() const override { return kMostFolder; }
  StoredFile root_file() const override;
  Piece fixed_root() const override { return {boot_.root_start, boot_.root_bytes}; }
  Result<StoredFile> stored_at(uint64_t id) override;
  Result<void> list(FolderReader& reader, const FileNode& folder, Damage& damage,
                    const VisitEntry& visit) override;

 private:
  Result<void> warn_of_state();
  Result<void> compare_fats();
  Result<void> find_label();
  Result<uint64_t> metadata_sum(uint64_t id, Bytes slot, const Entry& entry);
  bool is_plausible(const Entry& entry) const;
  std::optional<FileEntry> entry_of(Bytes slot, LongName& long_name, const FileNode& folder,
                                    Damage& damage) const;
  void check_dots(const Entry& entry, uint64_t number, uint32_t first, const FileNode& folder,
                  Damage& damage) const;

  BootSector boot_;
  Table table_;
  std::optional<std::string> root_label_;  // once the root is listed
};

Result<void> FatFileSystem::open() {
  std::array<std::byte, kBootBytes> bytes{};
  SNAP_TRY(pages_.read(0, bytes));
  SNAP_ASSIGN(boot_, parse_boot_sector(bytes));
  const uint64_t fats_end = boot_.fat_start + (boot_.active_fat + 1) * boot_.fat_bytes;
  if (fats_end > pages_.size()) {
    return Error(ErrorCode::kCorruption, "the image ends within its FAT");
  }
  if (boot_.size > pages_.size()) {
    warnings_.push_back(
        fmt::format("the image ends {} bytes before its file system", boot_.size - pages_.size()));
  }
  if (boot_.clusters < boot_.said_clusters) {
    warnings_.push_back(fmt::format("its FAT has entries for {} of {} clusters", boot_.clusters,
                                    boot_.said_clusters));
  }
  SNAP_TRY(warn_of_state());
  SNAP_TRY(compare_fats());
  return find_label();
}

Result<void> FatFileSystem::warn_of_state() {
  uint8_t state = boot_.state;
  if (boot_.bits != 12) {
    SNAP_ASSIGN(const uint32_t flags, table_.value(1));
    const unsigned top = boot_.bits == 16 ? 15 : 27;
    if ((flags >> top & 1U) == 0) state |= kUnmountedBadly;
    if ((flags >> (top - 1) & 1U) == 0) state |= kMediumErrors;
  }
  if ((state & kUnmountedBadly) != 0) {
    warnings_.emplace_back("it was not unmounted: the last changes may be torn");
  }
  if ((state & kMediumErrors) != 0) {
    warnings_.emplace_back("errors of its medium were found");
  }
  return {};
}

// All but the first two entries, which have no clusters. Of large ones only the beginning.
Result<void> FatFileSystem::compare_fats() {
  if (!boot_.is_mirrored) {
    warnings_.push_back(fmt::format("only its FAT {} is kept up to date", boot_.active_fat));
    return {};
  }
  const uint64_t used = div_round_up((uint64_t{boot_.clusters} + 2) * boot_.bits, 8);
  const uint64_t end = std::min({used, boot_.fat_bytes, kMostCompared});
  RawBytes one;
  RawBytes other;
  for (uint32_t fat = 1; fat < boot_.fats; ++fat) {
    for (uint64_t at = boot_.bits / 4; at < end; at += one.size()) {
      SNAP_TRY(pages_.poll());
      one.resize(std::min<uint64_t>(end - at, 64 * kKiB));
      other.resize(one.size());
      SNAP_TRY(pages_.read_data(boot_.fat_start + at, one));
      const auto read = pages_.read_data(boot_.fat_start + fat * boot_.fat_bytes + at, other);
      if (!read && read.error().code() != ErrorCode::kCorruption) return read;
      if (read && std::memcmp(one.data(), other.data(), one.size()) == 0) continue;
      warnings_.push_back(fmt::format("its FATs 0 and {} differ: FAT 0 is read", fat));
      break;
    }
  }
  return {};
}

// The root has it; what the boot sector has may be old.
Result<void> FatFileSystem::find_label() {
  auto top = node(kRoot);
  if (top) {
    // It is found while the root is listed.
    auto listed = visit_entries(*top, false, [](const FileEntry&) { return Result<void>(); });
    if (listed || listed.error().code() == ErrorCode::kCorruption) return {};
    return listed;
  }
  if (top.error().code() == ErrorCode::kCorruption) return {};
  return std::move(top).error();
}

StoredFile FatFileSystem::root_file() const {
  StoredFile root;
  root.node.type = NodeType::kFolder;
  root.first = boot_.root_bytes > 0 ? 0 : boot_.root_cluster;
  root.is_sized = false;
  return root;
}

// DOS attributes, and the short name where there is a long one.
Result<uint64_t> FatFileSystem::metadata_sum(uint64_t id, Bytes slot, const Entry& entry) {
  uint64_t sum = entry.attributes & ~unsigned{kFolder};
  const auto before = id_before(id);
  if (!before) return sum;
  std::array<std::byte, kSlotBytes> part{};
  SNAP_TRY(pages_.read(*before * kSlotBytes, part));
  if (is_first_part_of(part, slot)) {
    sum += uint64_t{crc32(entry.name)} << 32U | uint64_t{crc32(entry.name, 1) >> 8U} << 8U;
  }
  return sum;
}

Result<StoredFile> FatFileSystem::stored_at(uint64_t id) {
  std::array<std::byte, kSlotBytes> slot{};
  SNAP_TRY(pages_.read(id * kSlotBytes, slot));
  const Entry entry = parse_entry(slot, boot_.bits);
  if (is_end(slot) || is_long_part(slot) || entry.is_label() || entry.is_dots() ||
      (entry.is_deleted && !is_plausible(entry))) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no entry of a file at {}", id));
  }
  StoredFile file;
  file.first = entry.first;
  file.node.type = entry.is_folder() ? NodeType::kFolder : NodeType::kFile;
  file.is_sized = !entry.is_folder();
  if (file.is_sized) file.node.size = entry.size;
  file.written = file.node.size;
  file.node.modified = entry.modified;
  file.node.accessed = entry.accessed;
  file.node.created = entry.created;
  SNAP_ASSIGN(file.node.metadata_sum, metadata_sum(id, slot, entry));
  if (entry.is_deleted) {
    file.node.deleted = true;
    file.node.links = 0;
    file.kind = ClusterChain::Kind::kDeletedGuessed;
  }
  return file;
}

// Whether what is left of a deleted entry looks like one.
bool FatFileSystem::is_plausible(const Entry& entry) const {
  const bool has_place = table_.has(entry.first) || (entry.first == 0 && entry.size == 0);
  return has_place && (entry.attributes & 0xc0U) == 0 && !(entry.is_folder() && entry.size != 0) &&
         std::all_of(entry.name.begin(), entry.name.end(),
                     [](std::byte byte) { return byte >= std::byte{' '}; });
}

std::optional<FileEntry> FatFileSystem::entry_of(Bytes slot, LongName& long_name,
                                                 const FileNode& folder, Damage& damage) const {
  Entry entry = parse_entry(slot, boot_.bits);
  FileEntry result;
  result.name = long_name.take(slot);
  if (entry.is_label() || entry.is_dots() || (entry.is_deleted && !is_plausible(entry))) {
    return std::nullopt;
  }
  if (entry.is_deleted) entry.name[0] = std::byte{'_'};
  if (result.name.empty()) result.name = short_name(entry);
  if (result.name.empty()) {
    if (!entry.is_deleted) {
      damage.add(fmt::format("folder {} has an entry with an impossible name", folder.id));
    }
    return std::nullopt;
  }
  result.type = entry.is_folder() ? NodeType::kFolder : NodeType::kFile;
  result.deleted = entry.is_deleted;
  return result;
}

// A folder begins with "." and ".."; what does not is none, or is damaged.
void FatFileSystem::check_dots(const Entry& entry, uint64_t number, uint32_t first,
                               const FileNode& folder, Damage& damage) const {
  if (folder.id == kRoot || number > 2) return;
  const bool is_self = number == 1;
  const bool sound = entry.is_dots() && !entry.is_deleted && entry.is_folder() &&
                     (entry.name[1] == std::byte{'.'}) != is_self &&
                     (!is_self || entry.first == first);
  if (!sound) {
    damage.add(fmt::format("folder {} does not begin with '.' and '..'", folder.id));
  }
}

Result<void> FatFileSystem::list(FolderReader& reader, const FileNode& folder, Damage& damage,
                                 const VisitEntry& visit) {
  LongName long_name;
  for (;;) {
    const auto next = reader.next();
    if (!next) {
      SNAP_TRY(damage.note(next.error()));
      long_name = {};
      continue;
    }
    if (!*next || is_end(reader.slot())) {
      if (folder.id != kRoot && reader.passed() < 3) {
        damage.add(fmt::format("folder {} does not begin with '.' and '..'", folder.id));
      }
      return {};
    }
    const Bytes slot = reader.slot();
    const Entry entry = parse_entry(slot, boot_.bits);
    check_dots(entry, reader.passed(), reader.first_cluster(), folder, damage);
    if (is_long_part(slot)) {
      long_name.add(slot);
      continue;
    }
    if (folder.id == kRoot && entry.is_label() && !entry.is_deleted && !root_label_) {
      root_label_ = text_of_437(entry.name);
    }
    auto found = entry_of(slot, long_name, folder, damage);
    if (!found) continue;
    found->id = reader.id();
    SNAP_TRY(visit(*found));
  }
}

Result<std::pair<SpaceKind, uint64_t>> FatFileSystem::space_at(uint64_t offset) {
  const uint64_t heap_end = place_of(boot_.clusters + 2);
  if (offset >= heap_end) {
    return std::pair(SpaceKind::kFree, offset < size() ? size() : UINT64_MAX);
  }
  if (offset < boot_.root_start) return std::pair(SpaceKind::kMetadata, boot_.root_start);
  if (offset < boot_.heap_start) return std::pair(SpaceKind::kFile, boot_.heap_start);
  return space_in_heap(offset);
}

}  // namespace

Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<FatFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::fat
