// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/facts.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/access/opener.h"
#include "libsnap/io/image.h"

namespace snaptool::access {
namespace {

// Whether an error says that something is wrong with the content: that is told in its place.
bool is_finding(const Error& error) {
  return error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kNotFound ||
         error.code() == ErrorCode::kUnsupported || error.code() == ErrorCode::kInvalidArgument;
}

std::string missing_text(const PartFile& volume) {
  if (volume.missing() == 0) return {};
  return fmt::format("{} of it lie beyond the end of what was named",
                     format_size(volume.missing()));
}

std::shared_ptr<PartFile> part_of(const std::shared_ptr<File>& disk, const std::string& name,
                                  uint64_t offset, uint64_t length) {
  return std::make_shared<PartFile>(name, std::vector<PartSegment>{{length, {{disk, offset}}, 0}});
}

class Looker {
 public:
  Looker(const Context& context, std::optional<std::string> backup, LookFor what)
      : context_(context),
        volumes_(context.drivers.volumes),
        backup_(std::move(backup)),
        what_(what) {}

  Result<DiskFacts> look(const std::vector<std::shared_ptr<File>>& files, const std::string& name,
                         int depth) {
    constexpr int kDeepest = 3;  // a disk in a volume in a partition
    DiskFacts facts;
    bool is_group = files.size() > 1;
    if (!is_group) {
      const auto labelled = volumes_.is_physical_volume(*files.front());
      if (!labelled && !is_finding(labelled.error())) return labelled.error();
      if (!labelled) {
        facts.problem = labelled.error().describe();
        return facts;
      }
      is_group = *labelled;
    }
    if (is_group) {
      SNAP_ASSIGN(facts.group, look_at_group(files, name));
      return facts;
    }
    const auto table = volumes_.read_partitions(*files.front());
    if (!table) {
      if (!is_finding(table.error())) return table.error();
      facts.problem = table.error().describe();
      return facts;
    }
    if (*table && depth < kDeepest) {
      SNAP_ASSIGN(facts.table, look_at_table(**table, files.front(), name, depth));
    } else if (!*table) {
      SNAP_ASSIGN(facts.other_table, volumes_.unread_partitions(*files.front()));
    }
    SNAP_TRY(look_for_files(files.front(), facts.table != nullptr, facts));
    return facts;
  }

  bool used_backup() const { return used_backup_; }

 private:
  // Of a disk or a volume. A place that cannot be read is a problem of that one only.
  template <typename Facts>
  Result<void> look_for_files(const std::shared_ptr<File>& file, bool has_table, Facts& facts) {
    auto found = find_files(file, has_table);
    if (found) {
      facts.file_system = *std::move(found);
      return {};
    }
    Error error = std::move(found).error();
    if (!is_finding(error) && error.code() != ErrorCode::kIo) return error;
    if (facts.problem.empty()) facts.problem = error.describe();
    return {};
  }

  Result<std::optional<FileSystemFacts>> find_files(const std::shared_ptr<File>& file,
                                                    bool has_table) {
    std::optional<FileSystemFacts> facts;
    if (what_ != LookFor::kFileSystems) return facts;
    RawImage image(file);
    std::vector<std::byte> head(std::min<uint64_t>(image.size(), kFileSystemHead));
    SNAP_TRY(image.read_at(0, head));
    for (const FileSystemDriver& driver : context_.drivers.file_systems) {
      if ((has_table && !driver.beside_table) || !driver.probe(head)) continue;
      facts.emplace();
      facts->is_read = true;
      facts->type = driver.name;
      const auto opened = driver.open(image, context_.cancel);
      if (opened) {
        facts->type = (*opened)->type();
        facts->label = (*opened)->label();
        facts->uuid = (*opened)->uuid();
      } else if (is_finding(opened.error())) {
        facts->problem = opened.error().describe();
      } else {
        return opened.error();
      }
      return facts;
    }
    if (has_table) return facts;
    SNAP_ASSIGN(const auto found, context_.drivers.find_file_system(image));
    if (found) facts.emplace(FileSystemFacts{*found, false, {}});
    return facts;
  }

  Result<std::shared_ptr<TableFacts>> look_at_table(const PartitionTable& table,
                                                    const std::shared_ptr<File>& disk,
                                                    const std::string& name, int depth) {
    auto facts = std::make_shared<TableFacts>();
    facts->kind = table.kind;
    facts->id = table.id;
    facts->sector_size = table.sector_size;
    facts->warnings = table.warnings;
    for (const Partition& partition : table.partitions) {
      if (context_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      PartitionFacts one;
      one.partition = partition;
      one.type_name = volumes_.partition_type_name(partition.type);
      one.name = fmt::format("{}#p{}", name, partition.number);
      one.storages = part_of(disk, one.name, partition.offset, partition.length)->storages();
      const uint64_t left = disk->size() > partition.offset ? disk->size() - partition.offset : 0;
      // What shares bytes is not looked into: it would be told again and again.
      if (partition.shares_bytes()) {
        one.within.problem =
            fmt::format("it shares bytes with {}: it is not looked into", shared_with(partition));
      } else if (left > 0) {
        const std::shared_ptr<File> file =
            part_of(disk, one.name, partition.offset, std::min(left, partition.length));
        SNAP_ASSIGN(one.within, look({file}, one.name, depth + 2));
      }
      facts->partitions.push_back(std::move(one));
    }
    return facts;
  }

  Result<std::shared_ptr<GroupFacts>> look_at_group(const std::vector<std::shared_ptr<File>>& files,
                                                    const std::string& name) {
    auto facts = std::make_shared<GroupFacts>();
    const auto open = volumes_.open_group(files, backup_);
    used_backup_ = true;
    if (!open) {
      // What the user named is used, or it is an error.
      if (!is_finding(open.error()) || backup_) return open.error();
      facts->problem = open.error().describe();
      return facts;
    }
    const VolumeGroup& group = **open;
    facts->facts = group.facts();
    facts->warnings = group.warnings();
    for (const Volume& volume : facts->facts.volumes) {
      if (context_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      if (facts->facts.find_snapshot(volume.name) != nullptr) continue;
      SNAP_ASSIGN(auto one, look_at_volume(group, volume, name));
      facts->volumes.push_back(std::move(one));
    }
    return facts;
  }

  Result<GroupVolumeFacts> look_at_volume(const VolumeGroup& group, const Volume& volume,
                                          const std::string& name) {
    GroupVolumeFacts facts;
    facts.volume = volume;
    facts.name = fmt::format("{}#{}/{}", name, group.facts().name, volume.name);
    const auto file = group.open(volume.name, facts.name);
    if (file) {
      facts.storages = (*file)->storages();
      facts.problem = missing_text(**file);
      SNAP_TRY(look_for_files(*file, false, facts));
    } else if (is_finding(file.error())) {
      facts.problem = file.error().describe();
    } else {
      return file.error();
    }
    for (const VolumeSnapshot* const snapshot : group.facts().snapshots_of(volume.name)) {
      if (context_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_ASSIGN(auto one, look_at_snapshot(group, *snapshot, name));
      facts.snapshots.push_back(std::move(one));
    }
    return facts;
  }

  Result<SnapshotFacts> look_at_snapshot(const VolumeGroup& group, const VolumeSnapshot& snapshot,
                                         const std::string& name) {
    SnapshotFacts facts;
    facts.snapshot = snapshot;
    facts.name = fmt::format("{}#{}/{}-cow", name, group.facts().name, snapshot.name);
    facts.cow_size = group.facts().find(snapshot.name)->size;
    const auto cow = group.open(snapshot.name, facts.name);
    if (const std::string other = group.shares_bytes_with(snapshot.name); cow && !other.empty()) {
      facts.problem = fmt::format("it shares bytes with {}: it is not looked into", other);
      return facts;
    }
    if (cow) {
      facts.storages = (*cow)->storages();
      facts.problem = missing_text(**cow);
      auto store = store_facts(**cow, context_.cancel);
      if (store) {
        facts.store = *std::move(store);
      } else if (is_finding(store.error())) {
        facts.problem = store.error().describe();
      } else {
        return store.error();
      }
    } else if (is_finding(cow.error())) {
      facts.problem = cow.error().describe();
    } else {
      return cow.error();
    }
    return facts;
  }

  const Context context_;
  const VolumeDrivers& volumes_;
  std::optional<std::string> backup_;
  bool used_backup_ = false;
  LookFor what_;
};

}  // namespace

Result<StoreFacts> store_facts(File& file, const Cancel& cancel) {
  StoreFacts facts;
  SNAP_ASSIGN(auto examined, PersistentStore::examine(file));
  if (!examined.store) {
    facts.problem = examined.findings.front().message;
    return facts;
  }
  PersistentStore& store = *examined.store;
  if (store.state() == StoreState::kNone) {
    facts.is_new = true;
    return facts;
  }
  facts.header = {store.state() == StoreState::kValid, store.header().version,
                  store.header().chunk_size};
  if (const auto read = store.read_metadata(cancel); !read) {
    if (!store.missing_area()) return read.error();
    facts.problem = read.error().message();
    return facts;
  }
  facts.list = {store.exceptions(), store.current_area() + 1, store.usage()};
  return facts;
}

Result<DiskFacts> disk_facts(const Context& context,
                             const std::vector<std::shared_ptr<File>>& files, LookFor what) {
  SNAP_ASSIGN(auto backup, read_group_backup(context));
  const bool has_backup = backup.has_value();
  Looker looker(context, std::move(backup), what);
  SNAP_ASSIGN(DiskFacts facts, looker.look(files, "", 0));
  if (has_backup && !looker.used_backup()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("there is no LVM2 physical volume for the backup '{}'",
                             *context.policy.group_backup));
  }
  return facts;
}

}  // namespace snaptool::access
