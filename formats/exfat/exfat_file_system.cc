// SPDX-License-Identifier: Apache-2.0
#include "formats/exfat/exfat_file_system.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/cluster_files.h"
#include "formats/exfat/table.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::exfat {
namespace {

using access::FileEntry;
using access::FileNode;
using access::NodeType;
using access::SpaceKind;

constexpr uint64_t kMostFolderBytes = 256 * kMiB;
constexpr uint64_t kMostUpcaseBytes = 2 * 65'536;
constexpr size_t kMostTableRuns = 4096;

class ExfatFileSystem : public ClusterFiles {
 public:
  ExfatFileSystem(Image& image, const Cancel& cancel)
      : ClusterFiles(image, cancel), table_(pages_, boot_) {}
  Result<void> open();

  std::string_view type() const override { return "exfat"; }
  std::string label() const override { return root_.label; }
  std::string uuid() const override {
    return fmt::format("{:04X}-{:04X}", boot_.serial >> 16U, boot_.serial & 0xffffU);
  }
  uint64_t block_size() const override { return boot_.cluster_bytes; }
  uint64_t size() const override { return boot_.size; }
  Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) override;

 protected:
  ClusterTable& table() override { return table_; }
  uint64_t cluster_bytes() const override { return boot_.cluster_bytes; }
  uint64_t place_of(uint32_t cluster) const override {
    return boot_.heap_start + (uint64_t{cluster} - 2) * boot_.cluster_bytes;
  }
  uint64_t most_folder_bytes() const override { return kMostFolderBytes; }
  StoredFile root_file() const override;
  Result<StoredFile> stored_at(uint64_t id) override;
  Result<void> list(FolderReader& reader, const FileNode& folder, Damage& damage,
                    const VisitEntry& visit) override;

 private:
  // What only the root has.
  struct Root {
    std::string label;
    std::optional<Extent> bitmap;
    std::optional<Extent> upcase;
    uint32_t upcase_sum = 0;
  };
  // A set that is being read.
  struct Partial {
    uint64_t id = 0;
    size_t slots = 0;
    std::vector<std::byte> bytes;
  };

  Result<void> check_boot_sum();
  Result<void> open_tables();
  Result<void> open_upcase();
  Result<void> add_table_runs(const Extent& extent);
  void note_root_slot(Bytes slot);
  Result<void> add_slot(Partial& set, const FolderReader& reader, const FileNode& folder,
                        Damage& damage, const VisitEntry& visit);
  Result<void> end_set(Partial& set, const FileNode& folder, Damage& damage,
                       const VisitEntry& visit);
  Result<void> visit_set(const Partial& set, const FileNode& folder, Damage& damage,
                         const VisitEntry& visit);
  Result<std::vector<std::byte>> read_set(uint64_t id);

  BootSector boot_;
  Table table_;
  Root root_;
  UpcaseTable upcase_;
  bool warned_of_zones_ = false;
  std::vector<std::pair<uint64_t, uint64_t>> table_runs_;  // of bitmap and table; bytes, in order
};

Result<void> ExfatFileSystem::open() {
  std::array<std::byte, kBootBytes> bytes{};
  SNAP_TRY(pages_.read(0, bytes));
  SNAP_ASSIGN(boot_, parse_boot_sector(bytes));
  if (boot_.size > pages_.size()) {
    warnings_.push_back(
        fmt::format("the image ends {} bytes before its file system", boot_.size - pages_.size()));
  }
  SNAP_TRY(check_boot_sum());
  if (boot_.fats == 2) {
    warnings_.push_back(fmt::format("its FAT and bitmap {} are read, of two", boot_.active));
  }
  if (boot_.is_dirty) {
    warnings_.emplace_back("it was not unmounted: the last changes may be torn");
  }
  if (boot_.has_failed) warnings_.emplace_back("errors of its medium were found");
  return open_tables();
}

Result<void> ExfatFileSystem::check_boot_sum() {
  std::vector<std::byte> sectors(kBootSectors * boot_.sector_bytes);
  SNAP_TRY(pages_.read_data(0, sectors));
  const Bytes summed = Bytes(sectors).first(sectors.size() - boot_.sector_bytes);
  std::array<std::byte, 4> sum{};
  store_le(sum.data(), boot_sum(summed));
  for (size_t at = summed.size(); at < sectors.size(); at += sum.size()) {
    if (std::equal(sum.begin(), sum.end(), sectors.begin() + static_cast<ptrdiff_t>(at))) continue;
    warnings_.emplace_back("the checksum of its boot sectors is wrong");
    break;
  }
  return {};
}

// What the tables of a file system lack is a warning: files are read without them.
Result<void> ExfatFileSystem::open_tables() {
  Damage damage;
  const auto top = node(kRoot);
  if (top) {
    // The tables are found while the root is listed.
    SNAP_TRY(
        damage.note(visit_entries(*top, false, [](const FileEntry&) { return Result<void>(); })));
  } else {
    SNAP_TRY(damage.note(top.error()));
  }
  Damage lacks;
  if (root_.bitmap) {
    SNAP_TRY(lacks.note(table_.open_bitmap(*root_.bitmap)));
  } else {
    lacks.add("it has no bitmap");
  }
  if (!lacks.result()) {
    warnings_.push_back(
        fmt::format("{}: what is free is not known", lacks.result().error().describe()));
  }
  Damage broken;
  SNAP_TRY(broken.note(open_upcase()));
  if (!broken.result()) {
    warnings_.push_back(
        fmt::format("{}: hashes of names are not checked", broken.result().error().describe()));
  }
  for (const auto& extent : {root_.bitmap, root_.upcase}) {
    if (extent) SNAP_TRY(damage.note(add_table_runs(*extent)));
  }
  std::sort(table_runs_.begin(), table_runs_.end());
  return {};
}

Result<void> ExfatFileSystem::open_upcase() {
  if (!root_.upcase) return Error(ErrorCode::kCorruption, "it has no up-case table");
  if (root_.upcase->length > kMostUpcaseBytes || root_.upcase->length % 2 != 0) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("its up-case table has {} bytes", root_.upcase->length));
  }
  std::vector<std::byte> packed(root_.upcase->length);
  SNAP_ASSIGN(ClusterChain chain,
              ClusterChain::check(table_, pages_, ClusterChain::Kind::kLinked, root_.upcase->first,
                                  div_round_up(packed.size(), boot_.cluster_bytes)));
  if (!chain.reason().empty()) {
    return Error(ErrorCode::kCorruption, fmt::format("its up-case table: {}", chain.reason()));
  }
  for (size_t at = 0; at < packed.size();) {
    const auto index = static_cast<uint32_t>(at / boot_.cluster_bytes);
    SNAP_ASSIGN(const ClusterChain::Run run, chain.run_at(table_, index, 1));
    const size_t length = std::min<uint64_t>(boot_.cluster_bytes, packed.size() - at);
    SNAP_TRY(pages_.read_data(place_of(run.cluster), std::span(packed).subspan(at, length)));
    at += length;
  }
  auto table = parse_upcase(packed);
  if (!table || upcase_sum(packed) != root_.upcase_sum) {
    return Error(ErrorCode::kCorruption, "the checksum of its up-case table is wrong");
  }
  upcase_ = *std::move(table);
  return {};
}

Result<void> ExfatFileSystem::add_table_runs(const Extent& extent) {
  SNAP_ASSIGN(ClusterChain chain,
              ClusterChain::check(table_, pages_, ClusterChain::Kind::kLinked, extent.first,
                                  div_round_up(extent.length, boot_.cluster_bytes)));
  for (uint32_t index = 0; index < chain.length() && table_runs_.size() < kMostTableRuns;) {
    SNAP_ASSIGN(const ClusterChain::Run run, chain.run_at(table_, index, chain.length() - index));
    table_runs_.emplace_back(place_of(run.cluster), place_of(run.cluster + run.length));
    index += run.length;
  }
  return {};
}

StoredFile ExfatFileSystem::root_file() const {
  StoredFile root;
  root.node.type = NodeType::kFolder;
  root.first = boot_.root_cluster;
  root.is_sized = false;
  return root;
}

// The slots of the set that begins there.
Result<std::vector<std::byte>> ExfatFileSystem::read_set(uint64_t id) {
  std::vector<std::byte> bytes(kSlotBytes);
  SNAP_TRY(pages_.read(id * kSlotBytes, bytes));
  if ((type_of(bytes) | kInUse) != kFile) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no entry of a file at {}", id));
  }
  bytes.resize(set_slots(bytes) * kSlotBytes);
  std::optional<uint64_t> at = id;
  for (size_t done = kSlotBytes; done < bytes.size(); done += kSlotBytes) {
    at = id_after(*at);
    if (!at) return Error(ErrorCode::kCorruption, fmt::format("the entry at {} is cut", id));
    SNAP_TRY(pages_.read(*at * kSlotBytes, std::span(bytes).subspan(done, kSlotBytes)));
  }
  return bytes;
}

Result<StoredFile> ExfatFileSystem::stored_at(uint64_t id) {
  SNAP_ASSIGN(const std::vector<std::byte> bytes, read_set(id));
  auto set = parse_set(bytes);
  const bool is_deleted = (type_of(bytes) & kInUse) == 0;
  if (is_deleted && (!set || set->is_sum_wrong)) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no entry of a file at {}", id));
  }
  if (!set) return std::move(set).error();
  if (set->is_sum_wrong) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("the checksum of the entry at {} is wrong", id));
  }
  StoredFile file;
  file.first = set->first;
  file.written = set->valid;
  file.node.type = set->is_folder() ? NodeType::kFolder : NodeType::kFile;
  if (set->is_folder()) file.written = set->size;
  file.node.size = set->size;
  file.node.created = set->created;
  file.node.modified = set->modified;
  file.node.accessed = set->accessed;
  file.node.metadata_sum = (set->attributes & ~unsigned{kFolder}) + set->more_sum;
  using Kind = ClusterChain::Kind;
  file.kind = set->is_contiguous ? Kind::kContiguous : Kind::kLinked;
  if (is_deleted) {
    file.node.deleted = true;
    file.node.links = 0;
    file.kind = set->is_contiguous ? Kind::kDeletedGuessed : Kind::kDeletedLinked;
  }
  return file;
}

void ExfatFileSystem::note_root_slot(Bytes slot) {
  switch (type_of(slot)) {
    case kLabel:
      root_.label = label_of(slot);
      break;
    case kBitmap:
      if ((std::to_integer<uint32_t>(slot[1]) & 1U) == boot_.active) root_.bitmap = extent_of(slot);
      break;
    case kUpcase:
      root_.upcase = extent_of(slot);
      root_.upcase_sum = load_le<uint32_t>(slot.data() + 4);
      break;
    default:
      break;
  }
}

Result<void> ExfatFileSystem::visit_set(const Partial& set, const FileNode& folder, Damage& damage,
                                        const VisitEntry& visit) {
  const auto parsed = parse_set(set.bytes);
  const bool is_deleted = (type_of(set.bytes) & kInUse) == 0;
  if (is_deleted && (!parsed || parsed->is_sum_wrong)) return {};
  if (!parsed) {
    damage.add(fmt::format("folder {}: {}", folder.id, parsed.error().message()));
    return {};
  }
  if (parsed->is_sum_wrong) {
    damage.add(
        fmt::format("folder {}: the checksum of the entry at {} is wrong", folder.id, set.id));
  } else if (!is_deleted && !upcase_.empty() &&
             name_hash(parsed->name_units, upcase_) != parsed->name_hash) {
    damage.add(fmt::format("folder {}: the hash of the name '{}' is wrong", folder.id,
                           excerpt(parsed->name)));
  }
  if (parsed->has_local_times && !is_deleted && !warned_of_zones_) {
    warned_of_zones_ = true;
    warnings_.emplace_back("some times have no zone: they are shown as if they were UTC");
  }
  FileEntry entry;
  entry.name = parsed->name;
  entry.id = set.id;
  entry.type = parsed->is_folder() ? NodeType::kFolder : NodeType::kFile;
  entry.deleted = is_deleted;
  return visit(entry);
}

// Once it has all of its slots.
Result<void> ExfatFileSystem::end_set(Partial& set, const FileNode& folder, Damage& damage,
                                      const VisitEntry& visit) {
  if (set.bytes.size() < set.slots * kSlotBytes) return {};
  const Partial whole = std::exchange(set, {});
  return visit_set(whole, folder, damage, visit);
}

Result<void> ExfatFileSystem::add_slot(Partial& set, const FolderReader& reader,
                                       const FileNode& folder, Damage& damage,
                                       const VisitEntry& visit) {
  const Bytes slot = reader.slot();
  const uint8_t type = type_of(slot);
  const bool is_set_deleted = set.slots > 0 && (type_of(set.bytes) & kInUse) == 0;
  const bool belongs =
      set.slots > 0 && (type & kSecondary) != 0 && ((type & kInUse) == 0) == is_set_deleted;
  if (belongs) {
    set.bytes.insert(set.bytes.end(), slot.begin(), slot.end());
    return end_set(set, folder, damage, visit);
  }
  if (set.slots > 0 && !is_set_deleted) {
    damage.add(fmt::format("folder {}: the entry at {} is cut", folder.id, set.id));
  }
  set = {};
  if ((type | kInUse) == kFile) {
    set = {reader.id(), set_slots(slot), {slot.begin(), slot.end()}};
    return end_set(set, folder, damage, visit);
  }
  if (folder.id == kRoot) note_root_slot(slot);
  const bool is_known =
      folder.id == kRoot && (type == kBitmap || type == kUpcase || type == kLabel);
  if ((type & kInUse) != 0 && (type & kBenign) == 0 && !is_known) {
    damage.add(
        fmt::format("folder {} has an entry of type {:#x} where none can be", folder.id, type));
  }
  return {};
}

Result<void> ExfatFileSystem::list(FolderReader& reader, const FileNode& folder, Damage& damage,
                                   const VisitEntry& visit) {
  Partial set;
  for (;;) {
    const auto next = reader.next();
    if (!next) {
      SNAP_TRY(damage.note(next.error()));
      set = {};
      continue;
    }
    if (!*next || type_of(reader.slot()) == 0) break;
    SNAP_TRY(add_slot(set, reader, folder, damage, visit));
  }
  if (set.slots > 0 && (type_of(set.bytes) & kInUse) != 0) {
    damage.add(fmt::format("folder {}: the entry at {} is cut", folder.id, set.id));
  }
  return {};
}

Result<std::pair<SpaceKind, uint64_t>> ExfatFileSystem::space_at(uint64_t offset) {
  if (offset < boot_.heap_start) return std::pair(SpaceKind::kMetadata, boot_.heap_start);
  if (offset >= place_of(boot_.clusters + 2)) {
    return std::pair(SpaceKind::kFree, offset < size() ? size() : UINT64_MAX);
  }
  uint64_t limit = UINT64_MAX;
  for (const auto& [start, end] : table_runs_) {
    if (offset >= end) continue;
    if (offset >= start) return std::pair(SpaceKind::kMetadata, end);
    limit = start;
    break;
  }
  SNAP_ASSIGN(auto use, space_in_heap(offset));
  use.second = std::min(use.second, limit);
  return use;
}

}  // namespace

Result<std::unique_ptr<access::FileSystem>> open(Image& image, const Cancel& cancel) {
  auto file_system = std::make_unique<ExfatFileSystem>(image, cancel);
  SNAP_TRY(file_system->open());
  return file_system;
}

}  // namespace snaptool::exfat
