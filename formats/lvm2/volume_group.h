// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/lvm2/physical_volume.h"
#include "libsnap/access/volumes.h"
#include "libsnap/io/part_file.h"

namespace snaptool::lvm2 {

// What the metadata text says; names and numbers as LVM has them.
struct Segment {
  std::string type;  // "striped" (linear, too: one stripe), "zero", "raid1", ...
  uint64_t start_extent = 0;
  uint64_t extent_count = 0;
  uint64_t stripe_size = 0;  // sectors; 0 unless there are several stripes
  struct Area {
    std::string name;  // of a PV ("pv0") or of another LV
    uint64_t extent = 0;
  };
  std::vector<Area> areas;
};

struct LogicalVolume {
  std::string name;
  std::string uuid;
  bool visible = false;
  std::vector<Segment> segments;
  uint64_t extents = 0;
};

struct PhysicalVolumeEntry {
  std::string key;        // "pv0"
  std::string uuid;       // without dashes
  std::string device;     // where it was; a hint
  uint64_t pe_start = 0;  // sectors
  uint64_t pe_count = 0;
};

// A classic snapshot: LVM keeps it as a hidden LV of type "snapshot", which ties the two together.
struct SnapshotEntry {
  std::string name;    // the user's name for it, which is the LV that holds the COW
  std::string origin;  // an LV
  uint64_t chunk_sectors = 0;
  bool merging = false;  // LVM was told to merge it, and has not finished
};

struct VolumeGroup {
  std::string name;
  std::string uuid;
  uint64_t seqno = 0;
  uint64_t extent_bytes = 0;
  std::vector<PhysicalVolumeEntry> pvs;
  std::vector<LogicalVolume> lvs;  // without the hidden ones of snapshots
  std::vector<SnapshotEntry> snapshots;
  access::VolumeNames names;

  const LogicalVolume* find(std::string_view name) const;
  // The snapshot with this name; nullptr if there is none.
  const SnapshotEntry* find_snapshot(std::string_view name) const;
  // The snapshot that is being merged into this LV; nullptr if there is none.
  const SnapshotEntry* merging_into(std::string_view origin) const;
  uint64_t size_of(const LogicalVolume& lv) const { return lv.extents * extent_bytes; }
};

// Parses a metadata text, as it lies on a PV or as vgcfgbackup writes it. `what` names it in
// errors. Errors: kCorruption where something is missing, out of order or does not fit 63 bits.
Result<VolumeGroup> parse_volume_group(std::string text, const std::string& what);

// What a name within a VG means.
struct VolumeName {
  std::string lv;  // a plain LV, or the origin of the view
  std::optional<SnapshotEntry> snapshot;
};
// An LV's name; a snapshot's, which is the view of its COW over its origin; an origin's, which,
// while a snapshot is merged into it, is the view of that, as in the kernel; or, as device-mapper
// calls them, SNAPSHOT-cow and LV-real. Errors: kNotFound, naming what there is.
Result<VolumeName> resolve_name(const VolumeGroup& group, std::string_view name);

// A VG over the devices (images of PVs) that are at hand.
class OpenVolumeGroup {
 public:
  // Takes the metadata with the highest seqno of all that the devices carry, or `backup`, a text
  // of vgcfgbackup, instead. Errors: kNotFound where one is no PV, or none has metadata;
  // kInvalidArgument where they belong to different VGs, or one is named twice; kCorruption; those
  // of File.
  static Result<OpenVolumeGroup> open(std::vector<std::shared_ptr<File>> devices,
                                      const std::optional<std::string>& backup);

  const VolumeGroup& group() const { return group_; }
  // Damage that could be got round; metadata on a PV that are newer than the backup.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Why the metadata may not be the latest, which then describe other extents: the warnings, and
  // PVs that are not at hand. Empty: they are.
  std::vector<std::string> doubts() const;
  // With whom an LV shares bytes, against LVM's rules: "'vg0/other'", or the metadata. Empty: with
  // none. Of the metadata only those of PVs that are at hand are looked at.
  std::string shares_bytes_with(std::string_view name) const;
  // The extents of an LV, as a file that is called `shown`. Errors: kUnsupported for segments that
  // are neither linear, striped nor zero, or do not lie in PVs, naming the type; kNotFound where a
  // PV is not at hand; kCorruption where extents lie outside their PV.
  Result<std::shared_ptr<PartFile>> open_volume(const std::string& name,
                                                const std::string& shown) const;

 private:
  // Bytes of a PV that are somebody's.
  struct Claim {
    ByteRange range;
    std::optional<size_t> lv;  // none: the PV's own metadata
  };
  // Those of the LVs, and of the metadata, of each PV.
  std::vector<std::vector<Claim>> claims() const;
  // Fills sharing_.
  void find_shared_bytes();
  void share(const Claim& a, const Claim& b);

  // Finds the PV of each device among those of the group.
  Result<void> assign(const std::vector<std::shared_ptr<File>>& devices,
                      const std::vector<PhysicalVolume>& volumes);
  Result<PartSegment::Leg> open_area(const LogicalVolume& lv, const Segment& segment,
                                     size_t index) const;

  VolumeGroup group_;
  std::vector<std::shared_ptr<File>> devices_;  // one for each of group_.pvs; nullptr: not at hand
  std::vector<std::vector<ByteRange>> reserved_;  // of each device that is at hand
  std::map<std::string, size_t, std::less<>> pv_keys_;
  // For an LV that shares bytes, one with which it does; its own number: with itself; none: with
  // metadata.
  std::map<size_t, std::optional<size_t>> sharing_;
  std::vector<std::string> warnings_;
};

}  // namespace snaptool::lvm2
