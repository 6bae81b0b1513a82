// SPDX-License-Identifier: Apache-2.0
#include "formats/lvm2/lvm2_driver.h"

#include "formats/lvm2/volume_group.h"

namespace snaptool::lvm2 {
namespace {

access::VolumeSnapshot snapshot_of(const SnapshotEntry& entry) {
  return {entry.name, entry.origin, entry.chunk_sectors, entry.merging};
}

access::VolumeGroupFacts facts_of(const VolumeGroup& group) {
  access::VolumeGroupFacts facts;
  facts.name = group.name;
  facts.uuid = group.uuid;
  facts.seqno = group.seqno;
  facts.extent_bytes = group.extent_bytes;
  for (const PhysicalVolumeEntry& pv : group.pvs) {
    facts.pvs.push_back({pv.key, pv.uuid, pv.device});
  }
  for (const LogicalVolume& lv : group.lvs) {
    facts.volumes.push_back({lv.name, lv.uuid, group.size_of(lv), lv.visible});
  }
  for (const SnapshotEntry& entry : group.snapshots) facts.snapshots.push_back(snapshot_of(entry));
  facts.names = group.names;
  return facts;
}

class Group : public access::VolumeGroup {
 public:
  explicit Group(OpenVolumeGroup open) : open_(std::move(open)), facts_(facts_of(open_.group())) {}

  const access::VolumeGroupFacts& facts() const override { return facts_; }
  const std::vector<std::string>& warnings() const override { return open_.warnings(); }
  std::vector<std::string> doubts() const override { return open_.doubts(); }
  Result<access::VolumeName> resolve(std::string_view name) const override {
    SNAP_ASSIGN(const VolumeName found, resolve_name(open_.group(), name));
    access::VolumeName result{found.lv, {}};
    if (found.snapshot) result.snapshot = snapshot_of(*found.snapshot);
    return result;
  }
  std::string shares_bytes_with(std::string_view volume) const override {
    return open_.shares_bytes_with(volume);
  }
  Result<std::shared_ptr<PartFile>> open(const std::string& volume,
                                         const std::string& shown) const override {
    return open_.open_volume(volume, shown);
  }

 private:
  OpenVolumeGroup open_;
  access::VolumeGroupFacts facts_;
};

}  // namespace

Result<std::unique_ptr<access::VolumeGroup>> open_group(std::vector<std::shared_ptr<File>> devices,
                                                        const std::optional<std::string>& backup) {
  SNAP_ASSIGN(auto open, OpenVolumeGroup::open(std::move(devices), backup));
  return std::unique_ptr<access::VolumeGroup>(std::make_unique<Group>(std::move(open)));
}

}  // namespace snaptool::lvm2
