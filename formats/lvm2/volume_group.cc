// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/volume_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "formats/lvm2/physical_volume.h"
#include "libsnap/base/arithmetic.h"

namespace snaptool::lvm2 {
namespace {

constexpr uint64_t kMostBytes = INT64_MAX;  // of an LV: what an offset of a file can be

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
  return uuid;
}

bool has_flag(const ConfigNode& section, std::string_view list, std::string_view flag) {
  const ConfigNode* const node = section.find(list);
  return node != nullptr &&
         std::any_of(node->values.begin(), node->values.end(), [&](const ConfigValue& value) {
           const auto* text = std::get_if<std::string>(&value);
           return text != nullptr && *text == flag;
         });
}

Result<PhysicalVolumeEntry> parse_pv(const ConfigNode& section) {
  PhysicalVolumeEntry pv;
  pv.key = section.key;
  SNAP_ASSIGN(pv.uuid, uuid_in(section));
  pv.device = section.string("device").value_or("");
  SNAP_ASSIGN(pv.pe_start, section.number("pe_start"));
  SNAP_ASSIGN(pv.pe_count, section.number("pe_count"));
  return pv;
}

Result<std::vector<Segment::Area>> parse_areas(const ConfigNode& section) {
  const ConfigNode* const stripes = section.find("stripes");
  if (stripes == nullptr || stripes->values.empty() || stripes->values.size() % 2 != 0) {
    return corrupt(fmt::format("section '{}' has no list of stripes", section.key));
  }
  std::vector<Segment::Area> areas;
  for (size_t i = 0; i < stripes->values.size(); i += 2) {
    const auto* const name = std::get_if<std::string>(&stripes->values[i]);
    const auto* const extent = std::get_if<int64_t>(&stripes->values[i + 1]);
    if (name == nullptr || extent == nullptr || *extent < 0) {
      return corrupt(fmt::format("section '{}' has a bad list of stripes", section.key));
    }
    areas.push_back({*name, static_cast<uint64_t>(*extent)});
  }
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
    return corrupt(fmt::format("section '{}' has {} stripes and names {}", section.key, count,
                               segment.areas.size()));
  }
  if (segment.extent_count % count != 0) {
    return corrupt(fmt::format("section '{}' has {} extents in {} stripes", section.key,
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
  snapshot.merging = segment.find("merging_store") != nullptr;
  SNAP_ASSIGN(snapshot.name, segment.string(snapshot.merging ? "merging_store" : "cow_store"));
  SNAP_ASSIGN(snapshot.chunk_sectors, segment.number("chunk_size"));
  return snapshot;
}

// The segments of an LV, which must follow each other without a gap.
Result<void> parse_lv(const ConfigNode& section, VolumeGroup& group) {
  LogicalVolume lv;
  lv.name = section.key;
  SNAP_ASSIGN(lv.uuid, uuid_in(section));
  lv.visible = has_flag(section, "status", "VISIBLE");
  for (const ConfigNode& child : section.children) {
    if (!child.is_section || child.key.rfind("segment", 0) != 0) continue;
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

// Names are looked up in sets: a text may hold very many.
Result<void> check_names(const VolumeGroup& group) {
  std::set<std::string_view> volumes;
  for (const LogicalVolume& lv : group.lvs) {
    if (!volumes.insert(lv.name).second) {
      return corrupt(fmt::format("there are two LVs '{}'", lv.name));
    }
  }
  std::set<std::string_view> cows;
  for (const SnapshotEntry& snapshot : group.snapshots) {
    for (const std::string& name : {snapshot.name, snapshot.origin}) {
      if (volumes.count(name) == 0) {
        return corrupt(fmt::format("a snapshot names the LV '{}', which is not there", name));
      }
    }
    if (!cows.insert(snapshot.name).second) {
      return corrupt(fmt::format("'{}' is the COW of two snapshots", snapshot.name));
    }
  }
  for (const SnapshotEntry& snapshot : group.snapshots) {
    if (cows.count(snapshot.origin) != 0) {
      return corrupt(fmt::format("'{}' is a snapshot of '{}', which is one itself", snapshot.name,
                                 snapshot.origin));
    }
  }
  return {};
}

// The VG's section: the one that has extents.
const ConfigNode* find_group(const ConfigNode& root) {
  for (const ConfigNode& node : root.children) {
    if (node.is_section && node.find("extent_size") != nullptr) return &node;
  }
  return nullptr;
}

Result<VolumeGroup> group_of(const ConfigNode& section) {
  VolumeGroup group;
  group.name = section.key;
  SNAP_ASSIGN(group.uuid, uuid_in(section));
  SNAP_ASSIGN(group.seqno, section.number("seqno"));
  SNAP_ASSIGN(const uint64_t extent_sectors, section.number("extent_size"));
  const auto extent_bytes = checked_mul(extent_sectors, kSectorSize);
  if (extent_sectors == 0 || !extent_bytes || *extent_bytes > kMostBytes) {
    return corrupt("its extent size is impossible");
  }
  group.extent_bytes = *extent_bytes;
  const auto each = [&](std::string_view list, const auto& parse) -> Result<void> {
    const ConfigNode* const all = section.find_section(list);
    if (all == nullptr) return {};
    for (const ConfigNode& node : all->children) {
      if (!node.is_section) continue;
      if (!is_name(node.key)) return corrupt(fmt::format("'{}' is no name", node.key));
      auto parsed = parse(node);
      if (!parsed) return std::move(parsed).error().with_context(fmt::format("'{}'", node.key));
    }
    return {};
  };
  if (!is_name(group.name)) return corrupt(fmt::format("'{}' is no name", group.name));
  SNAP_TRY(each("physical_volumes", [&](const ConfigNode& node) -> Result<void> {
    SNAP_ASSIGN(PhysicalVolumeEntry pv, parse_pv(node));
    group.pvs.push_back(std::move(pv));
    return {};
  }));
  SNAP_TRY(each("logical_volumes", [&](const ConfigNode& node) { return parse_lv(node, group); }));
  SNAP_TRY(check_names(group));
  return group;
}

}  // namespace

const LogicalVolume* VolumeGroup::find(std::string_view lv) const {
  const auto found = std::find_if(lvs.begin(), lvs.end(),
                                  [&](const LogicalVolume& one) { return one.name == lv; });
  return found == lvs.end() ? nullptr : &*found;
}

const SnapshotEntry* VolumeGroup::find_snapshot(std::string_view snapshot) const {
  const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                  [&](const SnapshotEntry& one) { return one.name == snapshot; });
  return found == snapshots.end() ? nullptr : &*found;
}

const SnapshotEntry* VolumeGroup::merging_into(std::string_view origin) const {
  const auto found =
      std::find_if(snapshots.begin(), snapshots.end(),
                   [&](const SnapshotEntry& one) { return one.merging && one.origin == origin; });
  return found == snapshots.end() ? nullptr : &*found;
}

std::vector<const SnapshotEntry*> VolumeGroup::snapshots_of(std::string_view origin) const {
  std::vector<const SnapshotEntry*> found;
  for (const SnapshotEntry& snapshot : snapshots) {
    if (snapshot.origin == origin) found.push_back(&snapshot);
  }
  return found;
}

Result<VolumeGroup> parse_volume_group(std::string_view text, const std::string& what) {
  SNAP_ASSIGN(const ConfigNode root, parse_config(text, what));
  const ConfigNode* const section = find_group(root);
  if (section == nullptr) return corrupt(fmt::format("{} describes no volume group", what));
  auto group = group_of(*section);
  if (!group) {
    return std::move(group).error().with_context(
        fmt::format("{}, volume group '{}'", what, section->key));
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
  std::string names;
  for (const LogicalVolume& lv : group.lvs) {
    if (names.size() > 200) {
      names += ", ...";
      break;
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", lv.name);
  }
  return Error(ErrorCode::kNotFound, fmt::format("volume group '{}' has no volume '{}', only: {}",
                                                 group.name, name, names.empty() ? "none" : names));
}

Result<OpenVolumeGroup> OpenVolumeGroup::open(std::vector<std::shared_ptr<File>> devices,
                                              const std::optional<std::string>& backup) {
  OpenVolumeGroup open;
  std::vector<PhysicalVolume> volumes;
  std::optional<VolumeGroup> best;
  if (backup) {
    SNAP_ASSIGN(best, parse_volume_group(*backup, "the backup of the metadata"));
  }
  for (const auto& device : devices) {
    SNAP_ASSIGN(PhysicalVolume volume, read_physical_volume(*device));
    open.warnings_.insert(open.warnings_.end(), volume.problems.begin(), volume.problems.end());
    for (const std::string& text : volume.texts) {
      const std::string what = fmt::format("the metadata of '{}'", device->name());
      if (backup) {
        const auto group = parse_volume_group(text, what);
        if (group && group->uuid != best->uuid) {
          return Error(
              ErrorCode::kInvalidArgument,
              fmt::format("'{}' belongs to volume group '{}' ({}), and the backup is of "
                          "'{}' ({})",
                          device->name(), group->name, group->uuid, best->name, best->uuid));
        }
        if (group && group->uuid == best->uuid && group->seqno > best->seqno) {
          open.warnings_.push_back(
              fmt::format("{} (number {}) are newer than the backup (number {})", what,
                          group->seqno, best->seqno));
        }
        continue;
      }
      SNAP_ASSIGN(VolumeGroup group, parse_volume_group(text, what));
      if (best && group.uuid != best->uuid) {
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("'{}' belongs to volume group '{}' ({}), not to '{}' ({})",
                                 device->name(), group.name, group.uuid, best->name, best->uuid));
      }
      if (!best || group.seqno > best->seqno) best = std::move(group);
    }
    volume.texts.clear();
    volumes.push_back(std::move(volume));
  }
  if (!best) {
    if (!open.warnings_.empty()) return corrupt(open.warnings_.front());
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' carries no metadata of its volume group: name the PVs that do, "
                             "or a backup",
                             devices.front()->name()))
        .with_remedy(Remedy::kNameBackup);
  }
  open.group_ = std::move(*best);
  open.devices_.resize(open.group_.pvs.size());
  open.reserved_.resize(open.group_.pvs.size());
  for (size_t i = 0; i < devices.size(); ++i) {
    const auto entry =
        std::find_if(open.group_.pvs.begin(), open.group_.pvs.end(),
                     [&](const PhysicalVolumeEntry& pv) { return pv.uuid == volumes[i].uuid; });
    if (entry == open.group_.pvs.end()) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' (PV {}) is not one of volume group '{}'", devices[i]->name(),
                               volumes[i].uuid, open.group_.name));
    }
    auto& place = open.devices_[static_cast<size_t>(entry - open.group_.pvs.begin())];
    if (place) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' and '{}' are the same PV: name one of them", place->name(),
                               devices[i]->name()));
    }
    place = devices[i];
    open.reserved_[static_cast<size_t>(entry - open.group_.pvs.begin())] = volumes[i].reserved;
  }
  return open;
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

std::vector<ByteRange> OpenVolumeGroup::ranges_on(const LogicalVolume& lv, size_t pv) const {
  std::vector<ByteRange> ranges;
  const PhysicalVolumeEntry& entry = group_.pvs[pv];
  for (const Segment& segment : lv.segments) {
    if (segment.areas.empty()) continue;
    const uint64_t extents = segment.extent_count / segment.areas.size();
    for (const Segment::Area& area : segment.areas) {
      // What does not lie within its PV is refused when it is opened.
      if (area.name != entry.key || area.extent > entry.pe_count) continue;
      const auto start = checked_mul(entry.pe_start, kSectorSize);
      const auto offset = checked_mul(area.extent, group_.extent_bytes);
      const auto length = checked_mul(extents, group_.extent_bytes);
      const auto begin = start && offset ? checked_add(*start, *offset) : std::nullopt;
      if (begin && length && checked_add(*begin, *length)) ranges.push_back({*begin, *length});
    }
  }
  return ranges;
}

std::string OpenVolumeGroup::shares_bytes_with(const std::string& name) const {
  const LogicalVolume* const lv = group_.find(name);
  if (lv == nullptr) return {};
  for (size_t pv = 0; pv < group_.pvs.size(); ++pv) {
    std::vector<ByteRange> own = ranges_on(*lv, pv);
    std::sort(own.begin(), own.end(),
              [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
    const auto overlaps = [&](const ByteRange& other) {
      // The last that begins before the other ends: what lies before it may be longer, but then it
      // shares bytes with this LV itself.
      const auto after = std::partition_point(own.begin(), own.end(), [&](const ByteRange& range) {
        return range.offset < other.offset + other.length;
      });
      return after != own.begin() && (after - 1)->offset + (after - 1)->length > other.offset;
    };
    for (size_t i = 1; i < own.size(); ++i) {
      if (own[i - 1].offset + own[i - 1].length > own[i].offset) return "itself";
    }
    if (std::any_of(reserved_[pv].begin(), reserved_[pv].end(), overlaps)) {
      return fmt::format("the metadata of volume group '{}'", group_.name);
    }
    for (const LogicalVolume& other : group_.lvs) {
      if (&other == lv) continue;
      const auto ranges = ranges_on(other, pv);
      if (std::any_of(ranges.begin(), ranges.end(), overlaps)) {
        return fmt::format("'{}/{}'", group_.name, other.name);
      }
    }
  }
  return {};
}

Result<PartSegment::Leg> OpenVolumeGroup::open_area(const LogicalVolume& lv, const Segment& segment,
                                                    size_t index) const {
  const Segment::Area& area = segment.areas[index];
  const uint64_t extents = segment.extent_count / segment.areas.size();
  const auto end = checked_add(area.extent, extents);
  const auto outside = [&] {
    return corrupt(
        fmt::format("'{}/{}' has extents that lie outside '{}'", group_.name, lv.name, area.name));
  };
  for (size_t i = 0; i < group_.pvs.size(); ++i) {
    const PhysicalVolumeEntry& pv = group_.pvs[i];
    if (pv.key != area.name) continue;
    const auto start = checked_mul(pv.pe_start, kSectorSize);
    const auto bytes = end ? checked_mul(*end, group_.extent_bytes) : std::nullopt;
    const auto last = start && bytes ? checked_add(*start, *bytes) : std::nullopt;
    if (!last || *end > pv.pe_count || *last > kMostBytes) return outside();
    if (!devices_[i]) {
      return Error(ErrorCode::kNotFound,
                   fmt::format("'{}/{}' lies on PV {} ({}), too, which was not named: name all its "
                               "PVs, as in 'A.img,B.img#{}/{}'",
                               group_.name, lv.name, pv.uuid, pv.device, group_.name, lv.name));
    }
    return PartSegment::Leg{devices_[i], *start + area.extent * group_.extent_bytes};
  }
  if (area.name == lv.name) {
    return corrupt(fmt::format("'{}/{}' lies in itself", group_.name, lv.name));
  }
  const LogicalVolume* const other = group_.find(area.name);
  if (other == nullptr) return outside();
  return Error(ErrorCode::kUnsupported,
               fmt::format("'{}/{}' lies in the volume '{}' (type '{}'): only volumes that lie in "
                           "PVs are read",
                           group_.name, lv.name, area.name,
                           other->segments.empty() ? "none" : other->segments.front().type));
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
                      group_.name, name, segment.type));
    }
    segments.push_back(std::move(part));
  }
  return std::make_shared<PartFile>(shown, std::move(segments));
}

}  // namespace snaptool::lvm2
