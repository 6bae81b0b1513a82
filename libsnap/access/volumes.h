// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/io/part_file.h"

namespace snaptool::access {

// What lies where in a disk, as the drivers of partition tables and of volume groups tell it.

struct Partition {
  unsigned number = 0;  // as the kernel counts: 1 to 4 for MBR's primary ones, 5 and up for logical
  uint64_t offset = 0;  // bytes from the start of the disk
  uint64_t length = 0;  // bytes, at least 1
  std::string type;     // MBR: "0x83"; GPT: the GUID, in upper case
  std::string name;     // GPT only, UTF-8
  std::string uuid;     // GPT only
  bool passes_end = false;  // of the disk: a file that was cut
  unsigned overlaps = 0;    // the number of one that has bytes in common with it; 0: none
  bool over_table = false;  // it has bytes in common with the table

  bool shares_bytes() const { return overlaps != 0 || over_table; }
};
// With what, for a message. Requires that it does.
std::string shared_with(const Partition& partition);

struct PartitionTable {
  enum class Kind { kMbr, kGpt } kind = Kind::kMbr;
  uint64_t sector_size = kSectorSize;  // bytes
  std::string id;                      // MBR: "0x1234abcd"; GPT: the disk's GUID
  std::vector<Partition> partitions;   // by number; extended ones (containers) are left out
  std::vector<std::string> warnings;   // what was wrong and could be got round
};

struct Volume {
  std::string name;
  std::string uuid;
  uint64_t size = 0;  // bytes
  bool visible = false;
};

struct PhysicalVolume {
  std::string key;  // "pv0"
  std::string uuid;
  std::string device;  // where it was; a hint
};

// A classic snapshot: a volume that holds a COW, and the one that it is of.
struct VolumeSnapshot {
  std::string name;  // of the volume that holds the COW
  std::string origin;
  uint64_t chunk_sectors = 0;
  bool merging = false;  // it was told to be merged, and is not finished
};

// Finds what a group holds by its name: there may be very many.
class VolumeNames {
 public:
  // The next volume, or snapshot; false: there is one of that name.
  bool add_volume(const std::string& name);
  bool add_snapshot(const std::string& name, const std::string& origin);

  // How many were added before it; none if there is no such.
  std::optional<size_t> volume(std::string_view name) const;
  std::optional<size_t> snapshot(std::string_view name) const;
  std::vector<size_t> snapshots_of(std::string_view origin) const;

 private:
  using Index = std::map<std::string, size_t, std::less<>>;
  Index volumes_;
  Index snapshots_;
  std::multimap<std::string, size_t, std::less<>> by_origin_;
};

struct VolumeGroupFacts {
  std::string name;
  std::string uuid;
  uint64_t seqno = 0;  // of the metadata
  uint64_t extent_bytes = 0;
  std::vector<PhysicalVolume> pvs;
  std::vector<Volume> volumes;  // those of COWs, too
  std::vector<VolumeSnapshot> snapshots;
  VolumeNames names;  // of both

  const Volume* find(std::string_view volume) const;
  // The snapshot with this name; nullptr if there is none.
  const VolumeSnapshot* find_snapshot(std::string_view snapshot) const;
  // The snapshot that is being merged into this volume; nullptr if there is none.
  const VolumeSnapshot* merging_into(std::string_view origin) const;
  std::vector<const VolumeSnapshot*> snapshots_of(std::string_view origin) const;
};

// What a name within a group means.
struct VolumeName {
  std::string volume;  // a plain one, or the origin of the view
  std::optional<VolumeSnapshot> snapshot;
};

// A volume group over the devices that are at hand.
class VolumeGroup {
 public:
  virtual ~VolumeGroup() = default;
  VolumeGroup() = default;
  VolumeGroup(const VolumeGroup&) = delete;
  VolumeGroup& operator=(const VolumeGroup&) = delete;

  virtual const VolumeGroupFacts& facts() const = 0;
  // Damage that could be got round; devices whose metadata are newer than those that count.
  virtual const std::vector<std::string>& warnings() const = 0;
  // Why the metadata may not be the latest, which then describe other extents. Empty: they are.
  virtual std::vector<std::string> doubts() const = 0;
  // A volume's name; a snapshot's, which is the view of its COW over its origin; an origin's,
  // which, while a snapshot is merged into it, is the view of that, as in the kernel. Errors:
  // kNotFound, naming what there is.
  virtual Result<VolumeName> resolve(std::string_view name) const = 0;
  // With whom the volume shares bytes, against the rules: "'vg0/other'", or the group's own
  // metadata. Empty: with none.
  virtual std::string shares_bytes_with(std::string_view volume) const = 0;
  // The extents of a volume, as a file that is called `shown`. Errors: kUnsupported for kinds of
  // segments that are not read; kNotFound where a device is not at hand; kCorruption where extents
  // lie outside their device.
  virtual Result<std::shared_ptr<PartFile>> open(const std::string& volume,
                                                 const std::string& shown) const = 0;
};

// The systems of volumes that are known.
struct VolumeDrivers {
  // nullopt where there is no partition table. Errors: kCorruption; those of File.
  Result<std::optional<PartitionTable>> (*read_partitions)(File& disk) = nullptr;
  // The name of a partition table that is known and not read; empty: none. Errors: those of File.
  Result<std::string_view> (*unread_partitions)(File& disk) = nullptr;
  // What is usually in a partition of this type; empty for types that are not known.
  std::string_view (*partition_type_name)(std::string_view type) = nullptr;

  // Whether the device says that it belongs to a group, sound or not. Errors: those of File.
  Result<bool> (*is_physical_volume)(File& device) = nullptr;
  // The group of the devices, by the metadata that they carry, or by `backup`, a text. Errors:
  // kNotFound where one belongs to none; kInvalidArgument where they belong to several, or one is
  // named twice; kCorruption; those of File.
  Result<std::unique_ptr<VolumeGroup>> (*open_group)(std::vector<std::shared_ptr<File>> devices,
                                                     const std::optional<std::string>& backup) =
      nullptr;
  uint64_t most_backup = 0;  // bytes of a backup, at most
};

}  // namespace snaptool::access
