// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsnap/access/context.h"
#include "libsnap/snap/store/persistent_store.h"

namespace snaptool::access {

// What is known of a store without its origin.
struct StoreFacts {
  std::string problem;  // empty: none
  bool is_new = false;  // all zeros: the kernel makes a store of it
  // Of one that has a header.
  struct Header {
    bool valid = false;
    uint32_t version = 0;
    uint64_t chunk_sectors = 0;
  };
  std::optional<Header> header;
  // Of one whose list can be read.
  struct List {
    uint64_t exceptions = 0;
    uint64_t areas = 0;
    Usage usage;
  };
  std::optional<List> list;
};
// Errors: kIo; kInterrupted.
Result<StoreFacts> store_facts(File& file, const Cancel& cancel);

struct GroupFacts;
struct TableFacts;

// A file system, or what else is known by its magic: swap space, LUKS.
struct FileSystemFacts : FoundFileSystem {
  bool is_read = false;  // by ls, cat, diff --files
  std::string problem;   // why it cannot be opened; empty: none
};

// What is in a file: partitions, a volume group, or a file system. What is damaged is said in its
// place.
struct DiskFacts {
  std::string problem;      // of the partition table; empty: none
  std::string other_table;  // a partition table that is known and not read; empty: none
  std::shared_ptr<TableFacts> table;
  std::shared_ptr<GroupFacts> group;
  std::optional<FileSystemFacts> file_system;
};

struct PartitionFacts {
  Partition partition;
  std::string_view type_name;     // what is usually in it; empty: not known
  std::string name;               // as it would be named behind the disk: "#p2"
  std::vector<Storage> storages;  // where its bytes lie
  DiskFacts within;
};
struct TableFacts {
  PartitionTable::Kind kind = PartitionTable::Kind::kMbr;
  std::string id;
  uint64_t sector_size = 0;
  std::vector<std::string> warnings;
  std::vector<PartitionFacts> partitions;
};

struct SnapshotFacts {
  VolumeSnapshot snapshot;
  std::string name;  // of its COW: "#p2#vg0/data-cow"
  uint64_t cow_size = 0;
  std::string problem;            // why its COW cannot be read, or is not all there; empty: none
  std::vector<Storage> storages;  // of its COW
  std::optional<StoreFacts> store;
};
struct GroupVolumeFacts {
  Volume volume;
  std::string name;  // "#p2#vg0/data"
  std::string problem;
  std::vector<Storage> storages;
  std::optional<FileSystemFacts> file_system;
  std::vector<SnapshotFacts> snapshots;
};
struct GroupFacts {
  std::string problem;  // why it cannot be read; then there is nothing else
  VolumeGroupFacts facts;
  std::vector<std::string> warnings;
  std::vector<GroupVolumeFacts> volumes;  // without those of COWs
};

enum class LookFor : uint8_t { kVolumes, kFileSystems };

// Looks into a file, or into several that are devices of one volume group; for file systems in
// them, too, if told to. Errors: kIo; kInterrupted; those of reading Policy::group_backup;
// kInvalidArgument when there is nothing that it could be of.
Result<DiskFacts> disk_facts(const Context& context,
                             const std::vector<std::shared_ptr<File>>& files,
                             LookFor what = LookFor::kVolumes);

}  // namespace snaptool::access
