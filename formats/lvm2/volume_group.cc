// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/volume_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "formats/lvm2/config_text.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/hash.h"
#include "libsnap/base/printable.h"

namespace snaptool::lvm2 {
namespace {

constexpr uint64_t kMostBytes = INT64_MAX;         // of an LV: what an offset of a file can be
constexpr size_t kMostUuid = 64;                   // LVM's have 32 characters
constexpr uint64_t kMostChunkSectors = INT32_MAX;  // of a snapshot, as the kernel counts them
constexpr size_t kMostStripes = 128;               // of a segment: LVM's own limit

bool is_name(std::string_view text) {
  return !text.empty() && text.size() < 128 && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '.' || c == '+' || c == '-';
         });
}

Error corrupt(std::string text) { return {ErrorCode::kCorruption, std::move(text)}; }

Result<std::string> uuid_in(const ConfigNode& section) {
  SNAP_ASSIGN(std::string uuid, section.string("id"));
  std::erase(uuid, '-');
  if (uuid.size() > kMostUuid) return corrupt(fmt::format("'{}' is no id", excerpt(uuid)));
  return uuid;
}

bool has_flag(const ConfigNode& section, std::string_view list, std::string_view flag) {
  const auto node = section.find(list);
  bool found = false;
  if (!node) return false;
  node->each_value([&](const ConfigValue& value) {
    const auto* text = std::get_if<std::string>(&value);
    found = text != nullptr && *text == flag;
    return !found;
  });
  return found;
}

Result<PhysicalVolumeEntry> parse_pv(const ConfigNode& section) {
  PhysicalVolumeEntry pv;
  pv.key = section.key();
  SNAP_ASSIGN(pv.uuid, uuid_in(section));
  pv.device = excerpt(section.string("device").value_or(""));
  SNAP_ASSIGN(pv.pe_start, section.number("pe_start"));
  SNAP_ASSIGN(pv.pe_count, section.number("pe_count"));
  return pv;
}

// Pairs of a name and an extent.
Result<std::vector<Segment::Area>> parse_areas(const ConfigNode& section) {
  const auto bad = [&](std::string_view what) {
    return corrupt(fmt::format("section '{}' has {}", excerpt(section.key()), what));
  };
  const auto stripes = section.find("stripes");
  if (!stripes) return bad("no list of stripes");
  std::vector<Segment::Area> areas;
  bool named = false;  // the last of them, without its extent yet
  bool good = true;
  stripes->each_value([&](ConfigValue value) {
    if (auto* const name = std::get_if<std::string>(&value); !named && name != nullptr) {
      areas.push_back({std::move(*name), 0});
    } else if (const auto* extent = std::get_if<int64_t>(&value);
               named && extent != nullptr && *extent >= 0) {
      areas.back().extent = static_cast<uint64_t>(*extent);
    } else {
      good = false;
    }
    named = !named;
    return good && areas.size() <= kMostStripes;
  });
  if (areas.size() > kMostStripes) return bad(fmt::format("more than {} stripes", kMostStripes));
  if (!good || named || areas.empty()) return bad("a bad list of stripes");
  return areas;
}

Result<Segment> parse_segment(const ConfigNode& section) {
  Segment segment;
  SNAP_ASSIGN(segment.start_extent, section.number("start_extent"));
  SNAP_ASSIGN(segment.extent_count, section.number("extent_count"));
  SNAP_ASSIGN(segment.type, section.string("type"));
  // LVM appends features: "striped+NOTSYNCED".
  segment.type.erase(std::min(segment.type.find('+'), segment.type.size()));
  if (segment.type == "linear") segment.type = "striped";
  if (segment.type != "striped") return segment;
  SNAP_ASSIGN(const uint64_t count, section.number("stripe_count"));
  SNAP_ASSIGN(segment.areas, parse_areas(section));
  if (count != segment.areas.size()) {
    return corrupt(fmt::format("section '{}' has {} stripes and names {}", excerpt(section.key()),
                               count, segment.areas.size()));
  }
  if (segment.extent_count % count != 0) {
    return corrupt(fmt::format("section '{}' has {} extents in {} stripes", excerpt(section.key()),
                               segment.extent_count, count));
  }
  if (count > 1) {
    SNAP_ASSIGN(segment.stripe_size, section.number("stripe_size"));
  }
  return segment;
}

// Ties a hidden LV of type "snapshot" to the two that it names.
Result<SnapshotEntry> parse_snapshot(const ConfigNode& segment) {
  SnapshotEntry snapshot;
  SNAP_ASSIGN(snapshot.origin, segment.string("origin"));
  snapshot.merging = segment.find("merging_store").has_value();
  SNAP_ASSIGN(snapshot.name, segment.string(snapshot.merging ? "merging_store" : "cow_store"));
  SNAP_ASSIGN(snapshot.chunk_sectors, segment.number("chunk_size"));
  if (snapshot.chunk_sectors > kMostChunkSectors) {
    return corrupt(fmt::format("a snapshot has chunks of {} sectors", snapshot.chunk_sectors));
  }
  return snapshot;
}

// The segments of an LV, which must follow each other without a gap.
Result<void> parse_lv(const ConfigNode& section, VolumeGroup& group) {
  LogicalVolume lv;
  lv.name = section.key();
  SNAP_ASSIGN(lv.uuid, uuid_in(section));
  lv.visible = has_flag(section, "status", "VISIBLE");
  for (const ConfigNode child : section.children()) {
    if (!child.is_section() || child.key().rfind("segment", 0) != 0) continue;
    if (child.string("type").value_or("") == "snapshot") {
      SNAP_ASSIGN(SnapshotEntry snapshot, parse_snapshot(child));
      group.snapshots.push_back(std::move(snapshot));
      return {};
    }
    SNAP_ASSIGN(Segment segment, parse_segment(child));
    if (segment.start_extent != lv.extents || segment.extent_count == 0) {
      return corrupt(fmt::format("segments overlap or leave a gap at extent {}", lv.extents));
    }
    lv.extents += segment.extent_count;
    const auto bytes = checked_mul(lv.extents, group.extent_bytes);
    if (lv.extents < segment.extent_count || !bytes || *bytes > kMostBytes) {
      return corrupt("it is larger than any volume");
    }
    lv.segments.push_back(std::move(segment));
  }
  group.lvs.push_back(std::move(lv));
  return {};
}

// Fills group.names.
Result<void> index_names(VolumeGroup& group) {
  access::VolumeNames& names = group.names;
  for (const LogicalVolume& lv : group.lvs) {
    if (!names.add_volume(lv.name)) return corrupt(fmt::format("there are two LVs '{}'", lv.name));
  }
  for (const SnapshotEntry& snapshot : group.snapshots) {
    for (const std::string& name : {snapshot.name, snapshot.origin}) {
      if (!names.volume(name)) {
        return corrupt(
            fmt::format("a snapshot names the LV '{}', which is not there", excerpt(name)));
      }
    }
    if (!names.add_snapshot(snapshot.name, snapshot.origin)) {
      return corrupt(fmt::format("'{}' is the COW of two snapshots", snapshot.name));
    }
  }
  for (const SnapshotEntry& snapshot : group.snapshots) {
    if (names.snapshot(snapshot.origin)) {
      return corrupt(fmt::format("'{}' is a snapshot of '{}', which is one itself", snapshot.name,
                                 snapshot.origin));
    }
  }
  return {};
}

// The VG's section: the one that has extents.
std::optional<ConfigNode> find_group(const ConfigNode& root) {
  for (const ConfigNode node : root.children()) {
    if (node.is_section() && node.find("extent_size")) return node;
  }
  return std::nullopt;
}

Result<VolumeGroup> group_of(const ConfigNode& section) {
  VolumeGroup group;
  group.name = section.key();
  SNAP_ASSIGN(group.uuid, uuid_in(section));
  SNAP_ASSIGN(group.seqno, section.number("seqno"));
  SNAP_ASSIGN(const uint64_t extent_sectors, section.number("extent_size"));
  const auto extent_bytes = checked_mul(extent_sectors, kSectorSize);
  if (extent_sectors == 0 || !extent_bytes || *extent_bytes > kMostBytes) {
    return corrupt("its extent size is impossible");
  }
  group.extent_bytes = *extent_bytes;
  const auto each = [&](std::string_view list, const auto& parse) -> Result<void> {
    const auto all = section.find_section(list);
    if (!all) return {};
    for (const ConfigNode node : all->children()) {
      if (!node.is_section()) continue;
      const std::string name = node.key();
      if (!is_name(name)) return corrupt(fmt::format("'{}' is no name", excerpt(name)));
      auto parsed = parse(node);
      if (!parsed) return std::move(parsed).error().with_context(fmt::format("'{}'", name));
    }
    return {};
  };
  if (!is_name(group.name)) return corrupt(fmt::format("'{}' is no name", excerpt(group.name)));
  SNAP_TRY(each("physical_volumes", [&](const ConfigNode& node) -> Result<void> {
    SNAP_ASSIGN(PhysicalVolumeEntry pv, parse_pv(node));
    group.pvs.push_back(std::move(pv));
    return {};
  }));
  SNAP_TRY(each("logical_volumes", [&](const ConfigNode& node) { return parse_lv(node, group); }));
  SNAP_TRY(index_names(group));
  return group;
}

// What the texts of the devices, and a backup, say of the group.
class LatestMetadata {
 public:
  explicit LatestMetadata(std::vector<std::string>& warnings) : warnings_(warnings) {}

  Result<void> take_backup(const std::string& backup) {
    SNAP_ASSIGN(best_, parse_volume_group(backup, "the backup of the metadata"));
    is_backup_ = true;
    return {};
  }

  Result<void> take(std::string text, const std::string& device) {
    Hash hash(HashAlgorithm::kSha256);
    hash.update(std::as_bytes(std::span(text)));
    // Most areas hold the same.
    if (!seen_.insert(hash.finish()).second) return {};
    const std::string what = fmt::format("the metadata of '{}'", device);
    auto group = parse_volume_group(std::move(text), what);
    if (is_backup_) return group ? compare_with_backup(*group, device, what) : Result<void>();
    if (!group) return std::move(group).error();
    if (best_ && group->uuid != best_->uuid) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' belongs to volume group '{}' ({}), not to '{}' ({})", device,
                               group->name, group->uuid, best_->name, best_->uuid));
    }
    if (!best_ || group->seqno > best_->seqno) best_ = *std::move(group);
    return {};
  }

  std::optional<VolumeGroup>& best() { return best_; }

 private:
  Result<void> compare_with_backup(const VolumeGroup& group, const std::string& device,
                                   const std::string& what) {
    if (group.uuid != best_->uuid) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("'{}' belongs to volume group '{}' ({}), and the backup is of '{}' ({})",
                      device, group.name, group.uuid, best_->name, best_->uuid));
    }
    if (group.seqno > best_->seqno) {
      warnings_.push_back(fmt::format("{} (number {}) are newer than the backup (number {})", what,
                                      group.seqno, best_->seqno));
    }
    return {};
  }

  std::vector<std::string>& warnings_;
  std::optional<VolumeGroup> best_;
  bool is_backup_ = false;
  std::set<std::string> seen_;  // hashes of the texts
};

}  // namespace

const LogicalVolume* VolumeGroup::find(std::string_view lv) const {
  const auto position = names.volume(lv);
  return position ? &lvs[*position] : nullptr;
}

const SnapshotEntry* VolumeGroup::find_snapshot(std::string_view snapshot) const {
  const auto position = names.snapshot(snapshot);
  return position ? &snapshots[*position] : nullptr;
}

const SnapshotEntry* VolumeGroup::merging_into(std::string_view origin) const {
  for (const size_t position : names.snapshots_of(origin)) {
    if (snapshots[position].merging) return &snapshots[position];
  }
  return nullptr;
}

Result<VolumeGroup> parse_volume_group(std::string text, const std::string& what) {
  SNAP_ASSIGN(const ConfigText config, ConfigText::parse(std::move(text), what));
  const auto section = find_group(config.root());
  if (!section) return corrupt(fmt::format("{} describes no volume group", what));
  auto group = group_of(*section);
  if (!group) {
    return std::move(group).error().with_context(
        fmt::format("{}, volume group '{}'", what, excerpt(section->key())));
  }
  return group;
}

Result<VolumeName> resolve_name(const VolumeGroup& group, std::string_view name) {
  if (group.find(name) != nullptr) {
    const SnapshotEntry* snapshot = group.find_snapshot(name);
    if (snapshot == nullptr) snapshot = group.merging_into(name);
    if (snapshot != nullptr) return VolumeName{snapshot->origin, *snapshot};
    return VolumeName{std::string(name), {}};
  }
  for (const std::string_view suffix : {"-cow", "-real"}) {
    if (name.size() <= suffix.size() || name.substr(name.size() - suffix.size()) != suffix)
      continue;
    const std::string_view lv = name.substr(0, name.size() - suffix.size());
    const bool there =
        suffix == "-cow" ? group.find_snapshot(lv) != nullptr : group.find(lv) != nullptr;
    if (there) return VolumeName{std::string(lv), {}};
  }
  std::vector<std::string_view> names;
  for (const LogicalVolume& lv : group.lvs) names.push_back(lv.name);
  return Error(ErrorCode::kNotFound, fmt::format("volume group '{}' has no volume '{}', only: {}",
                                                 group.name, excerpt(name), excerpt_list(names)));
}

Result<OpenVolumeGroup> OpenVolumeGroup::open(std::vector<std::shared_ptr<File>> devices,
                                              const std::optional<std::string>& backup) {
  OpenVolumeGroup open;
  std::vector<PhysicalVolume> volumes;
  LatestMetadata latest(open.warnings_);
  if (backup) SNAP_TRY(latest.take_backup(*backup));
  for (const auto& device : devices) {
    SNAP_ASSIGN(PhysicalVolume volume, read_physical_volume(*device));
    open.warnings_.insert(open.warnings_.end(), volume.problems.begin(), volume.problems.end());
    for (std::string& text : volume.texts) SNAP_TRY(latest.take(std::move(text), device->name()));
    volume.texts.clear();
    volumes.push_back(std::move(volume));
  }
  if (!latest.best()) {
    if (!open.warnings_.empty()) return corrupt(open.warnings_.front());
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' carries no metadata of its volume group: name the PVs that do, "
                             "or a backup",
                             devices.front()->name()))
        .with_remedy(Remedy::kNameBackup);
  }
  open.group_ = std::move(*latest.best());
  SNAP_TRY(open.assign(devices, volumes));
  open.find_shared_bytes();
  return open;
}

Result<void> OpenVolumeGroup::assign(const std::vector<std::shared_ptr<File>>& devices,
                                     const std::vector<PhysicalVolume>& volumes) {
  std::map<std::string_view, size_t> uuids;
  for (size_t i = 0; i < group_.pvs.size(); ++i) {
    uuids.emplace(group_.pvs[i].uuid, i);
    pv_keys_.emplace(group_.pvs[i].key, i);
  }
  devices_.resize(group_.pvs.size());
  reserved_.resize(group_.pvs.size());
  for (size_t i = 0; i < devices.size(); ++i) {
    const auto found = uuids.find(volumes[i].uuid);
    if (found == uuids.end()) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' (PV {}) is not one of volume group '{}'", devices[i]->name(),
                               volumes[i].uuid, group_.name));
    }
    auto& place = devices_[found->second];
    if (place) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' and '{}' are the same PV: name one of them", place->name(),
                               devices[i]->name()));
    }
    place = devices[i];
    reserved_[found->second] = volumes[i].reserved;
  }
  return {};
}

std::vector<std::string> OpenVolumeGroup::doubts() const {
  std::vector<std::string> doubts = warnings_;
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i]) continue;
    doubts.push_back(fmt::format("PV {} ({}) is not named, and may have newer metadata",
                                 group_.pvs[i].uuid, group_.pvs[i].device));
  }
  return doubts;
}

std::vector<std::vector<OpenVolumeGroup::Claim>> OpenVolumeGroup::claims() const {
  std::vector<std::vector<Claim>> claims(group_.pvs.size());
  const auto add = [&](size_t lv, const Segment::Area& area, uint64_t extents) {
    const auto pv = pv_keys_.find(area.name);
    if (pv == pv_keys_.end()) return;
    const PhysicalVolumeEntry& entry = group_.pvs[pv->second];
    // What does not lie within its PV is refused when it is opened.
    if (area.extent > entry.pe_count) return;
    const auto start = checked_mul(entry.pe_start, kSectorSize);
    const auto offset = checked_mul(area.extent, group_.extent_bytes);
    const auto length = checked_mul(extents, group_.extent_bytes);
    const auto begin = start && offset ? checked_add(*start, *offset) : std::nullopt;
    if (!begin || !length || *length == 0 || !checked_add(*begin, *length)) return;
    claims[pv->second].push_back({{*begin, *length}, lv});
  };
  for (size_t lv = 0; lv < group_.lvs.size(); ++lv) {
    for (const Segment& segment : group_.lvs[lv].segments) {
      for (const Segment::Area& area : segment.areas) {
        add(lv, area, segment.extent_count / segment.areas.size());
      }
    }
  }
  for (size_t pv = 0; pv < reserved_.size(); ++pv) {
    for (const ByteRange& range : reserved_[pv]) {
      if (range.length > 0) claims[pv].push_back({range, std::nullopt});
    }
  }
  return claims;
}

void OpenVolumeGroup::share(const Claim& a, const Claim& b) {
  if (a.lv) sharing_.emplace(*a.lv, b.lv);
  if (b.lv) sharing_.emplace(*b.lv, a.lv);
}

// Sorted by their offsets, a claim shares bytes with one before it if it does with the one of those
// that ends last.
void OpenVolumeGroup::find_shared_bytes() {
  for (std::vector<Claim>& all : claims()) {
    std::stable_sort(all.begin(), all.end(), [](const Claim& a, const Claim& b) {
      return a.range.offset < b.range.offset;
    });
    const Claim* last = nullptr;
    for (const Claim& claim : all) {
      const auto end = [](const Claim& one) {
        return checked_add(one.range.offset, one.range.length).value_or(UINT64_MAX);
      };
      if (last != nullptr && claim.range.offset < end(*last)) share(*last, claim);
      if (last == nullptr || end(claim) > end(*last)) last = &claim;
    }
  }
}

std::string OpenVolumeGroup::shares_bytes_with(std::string_view name) const {
  const auto position = group_.names.volume(name);
  const auto found = position ? sharing_.find(*position) : sharing_.end();
  if (found == sharing_.end()) return {};
  if (!found->second) return fmt::format("the metadata of volume group '{}'", group_.name);
  if (*found->second == *position) return "itself";
  return fmt::format("'{}/{}'", group_.name, group_.lvs[*found->second].name);
}

Result<PartSegment::Leg> OpenVolumeGroup::open_area(const LogicalVolume& lv, const Segment& segment,
                                                    size_t index) const {
  const Segment::Area& area = segment.areas[index];
  const uint64_t extents = segment.extent_count / segment.areas.size();
  const auto end = checked_add(area.extent, extents);
  const auto outside = [&] {
    return corrupt(fmt::format("'{}/{}' has extents that lie outside '{}'", group_.name, lv.name,
                               excerpt(area.name)));
  };
  if (const auto found = pv_keys_.find(area.name); found != pv_keys_.end()) {
    const PhysicalVolumeEntry& pv = group_.pvs[found->second];
    const auto& device = devices_[found->second];
    const auto start = checked_mul(pv.pe_start, kSectorSize);
    const auto bytes = end ? checked_mul(*end, group_.extent_bytes) : std::nullopt;
    const auto last = start && bytes ? checked_add(*start, *bytes) : std::nullopt;
    if (!last || *end > pv.pe_count || *last > kMostBytes) return outside();
    if (!device) {
      return Error(ErrorCode::kNotFound,
                   fmt::format("'{}/{}' lies on PV {} ({}), too, which was not named: name all its "
                               "PVs, as in 'A.img,B.img#{}/{}'",
                               group_.name, lv.name, pv.uuid, pv.device, group_.name, lv.name));
    }
    return PartSegment::Leg{device, *start + area.extent * group_.extent_bytes};
  }
  if (area.name == lv.name) {
    return corrupt(fmt::format("'{}/{}' lies in itself", group_.name, lv.name));
  }
  const LogicalVolume* const other = group_.find(area.name);
  if (other == nullptr) return outside();
  return Error(
      ErrorCode::kUnsupported,
      fmt::format("'{}/{}' lies in the volume '{}' (type '{}'): only volumes that lie in "
                  "PVs are read",
                  group_.name, lv.name, area.name,
                  other->segments.empty() ? "none" : excerpt(other->segments.front().type)));
}

Result<std::shared_ptr<PartFile>> OpenVolumeGroup::open_volume(const std::string& name,
                                                               const std::string& shown) const {
  const LogicalVolume* const lv = group_.find(name);
  if (lv == nullptr) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("volume group '{}' has no volume '{}'", group_.name, name));
  }
  std::vector<PartSegment> segments;
  for (const Segment& segment : lv->segments) {
    PartSegment part;
    part.length = segment.extent_count * group_.extent_bytes;
    if (segment.type == "striped") {
      const size_t legs = segment.areas.size();
      for (size_t i = 0; i < legs; ++i) {
        SNAP_ASSIGN(PartSegment::Leg leg, open_area(*lv, segment, i));
        part.legs.push_back(std::move(leg));
      }
      if (legs > 1) {
        const auto stripe = checked_mul(segment.stripe_size, kSectorSize);
        const auto round = stripe ? checked_mul(*stripe, legs) : std::nullopt;
        if (!round || *round == 0 || part.length % *round != 0) {
          return corrupt(fmt::format("'{}/{}' has stripes of {} sectors, which do not divide it",
                                     group_.name, name, segment.stripe_size));
        }
        part.stripe = *stripe;
      }
    } else if (segment.type != "zero") {
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("'{}/{}' has a segment of type '{}': only linear and striped volumes "
                      "and classic snapshots are read",
                      group_.name, name, excerpt(segment.type)));
    }
    segments.push_back(std::move(part));
  }
  return std::make_shared<PartFile>(shown, std::move(segments));
}

}  // namespace snaptool::lvm2
