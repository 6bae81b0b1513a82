// SPDX-License-Identifier: Apache-2.0
#include "cli/report/disk_tree.h"

#include <fmt/format.h>

#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

double fill_of(const Usage& usage) {
  return 100.0 * static_cast<double>(usage.allocated_sectors) /
         static_cast<double>(usage.total_sectors);
}

Json file_system_json(const access::FileSystemFacts& facts) {
  Json json = {{"type", facts.type},
               {"label", facts.label},
               {"uuid", facts.uuid},
               {"is_read", facts.is_read}};
  if (!facts.problem.empty()) json["problem"] = facts.problem;
  return json;
}

Json partition_json(const access::PartitionFacts& facts) {
  const access::Partition& partition = facts.partition;
  Json json = {{"number", partition.number},   {"offset", partition.offset},
               {"length", partition.length},   {"type", partition.type},
               {"type_name", facts.type_name}, {"name", partition.name},
               {"uuid", partition.uuid},       {"passes_end", partition.passes_end}};
  add_disk(json, facts.within);
  return json;
}

Json table_json(const access::TableFacts& table) {
  Json json = {{"type", table.kind == access::PartitionTable::Kind::kGpt ? "gpt" : "mbr"},
               {"id", table.id},
               {"sector_size", table.sector_size},
               {"warnings", table.warnings},
               {"partitions", Json::array()}};
  for (const auto& partition : table.partitions) {
    json["partitions"].push_back(partition_json(partition));
  }
  return json;
}

Json snapshot_json(const access::SnapshotFacts& facts) {
  Json json = {{"name", facts.snapshot.name},
               {"origin", facts.snapshot.origin},
               {"merging", facts.snapshot.merging},
               {"chunk_size_sectors", facts.snapshot.chunk_sectors},
               {"cow_size", facts.cow_size}};
  if (!facts.problem.empty()) json["problem"] = facts.problem;
  if (facts.store) json["store"] = store_json(*facts.store);
  return json;
}

Json group_json(const access::GroupFacts& group) {
  if (!group.problem.empty()) return {{"problem", group.problem}};
  const access::VolumeGroupFacts& facts = group.facts;
  Json json = {{"vg_name", facts.name},      {"vg_uuid", facts.uuid},
               {"seqno", facts.seqno},       {"extent_size", facts.extent_bytes},
               {"warnings", group.warnings}, {"pvs", Json::array()},
               {"lvs", Json::array()}};
  for (const access::PhysicalVolume& pv : facts.pvs) {
    json["pvs"].push_back({{"name", pv.key}, {"uuid", pv.uuid}, {"device_hint", pv.device}});
  }
  for (const access::GroupVolumeFacts& one : group.volumes) {
    Json volume = {{"name", one.volume.name},
                   {"uuid", one.volume.uuid},
                   {"size", one.volume.size},
                   {"visible", one.volume.visible}};
    if (!one.problem.empty()) volume["problem"] = one.problem;
    if (one.file_system) volume["file_system"] = file_system_json(*one.file_system);
    volume["snapshots"] = Json::array();
    for (const auto& snapshot : one.snapshots) {
      volume["snapshots"].push_back(snapshot_json(snapshot));
    }
    json["lvs"].push_back(std::move(volume));
  }
  return json;
}

// Lines, each indented by how deep what it tells lies.
class Lines {
 public:
  void add_disk(const access::DiskFacts& facts, int depth) {
    if (!facts.problem.empty()) add(depth, fmt::format("problem: {}", facts.problem));
    if (!facts.other_table.empty()) {
      add(depth,
          fmt::format("partition table: {}, which snaptool does not read", facts.other_table));
    }
    if (facts.file_system) {
      add(depth, fmt::format("{:<{}}{}", "file system:", depth == 0 ? 16 : 13,
                             file_system_text(*facts.file_system)));
    }
    if (facts.table) add_table(*facts.table, depth);
    if (facts.group) add_group(*facts.group, depth);
  }
  std::string take() { return std::move(text_); }

 private:
  void add(int depth, std::string_view text) { text_ += text_line("{:{}}{}", "", 2 * depth, text); }

  void add_table(const access::TableFacts& table, int depth) {
    add(depth,
        fmt::format("partition table: {} {}",
                    table.kind == access::PartitionTable::Kind::kGpt ? "GPT" : "MBR", table.id));
    for (const std::string& warning : table.warnings) {
      add(depth, fmt::format("problem: {}", warning));
    }
    for (const access::PartitionFacts& one : table.partitions) {
      const access::Partition& partition = one.partition;
      add(depth + 1,
          fmt::format("#p{:<4} {:>10}  at byte {:<14} {}{}{}", partition.number,
                      format_size(partition.length), partition.offset,
                      one.type_name.empty() ? std::string_view(partition.type) : one.type_name,
                      partition.name.empty() ? "" : fmt::format(" '{}'", partition.name),
                      partition.passes_end ? ", passes the end of the disk" : ""));
      add_disk(one.within, depth + 2);
    }
  }

  void add_group(const access::GroupFacts& group, int depth) {
    if (!group.problem.empty()) {
      add(depth, fmt::format("LVM2 physical volume: {}", group.problem));
      return;
    }
    const access::VolumeGroupFacts& facts = group.facts;
    add(depth,
        fmt::format("LVM2 volume group {} (metadata {}, extents of {}, {})", facts.name,
                    facts.seqno, format_size(facts.extent_bytes), counted(facts.pvs.size(), "PV")));
    for (const std::string& warning : group.warnings) {
      add(depth, fmt::format("problem: {}", warning));
    }
    for (const access::GroupVolumeFacts& one : group.volumes) {
      add(depth + 1, fmt::format("#{}/{:<16} {:>10}{}{}", facts.name, one.volume.name,
                                 format_size(one.volume.size), one.volume.visible ? "" : "  hidden",
                                 one.problem.empty() ? "" : "  " + one.problem));
      if (one.file_system) {
        add(depth + 2, fmt::format("file system: {}", file_system_text(*one.file_system)));
      }
      for (const auto& snapshot : one.snapshots) add_snapshot(facts.name, snapshot, depth + 2);
    }
  }

  void add_snapshot(const std::string& group, const access::SnapshotFacts& facts, int depth) {
    const access::VolumeSnapshot& snapshot = facts.snapshot;
    std::string state = facts.problem;
    if (facts.store) {
      state = state_of(*facts.store) + (facts.problem.empty() ? "" : ", " + facts.problem);
    }
    add(depth,
        fmt::format("#{}/{:<14} snapshot, COW of {}, chunks of {}, {}{}", group, snapshot.name,
                    format_size(facts.cow_size), format_size(snapshot.chunk_sectors * kSectorSize),
                    state, snapshot.merging ? ", being merged into its origin" : ""));
  }

  static std::string state_of(const access::StoreFacts& store) {
    if (store.header && !store.header->valid) return "Invalid";
    if (!store.problem.empty()) return store.problem;
    if (!store.list) return "a new store";
    return fmt::format("{:.2f}% full", fill_of(store.list->usage));
  }

  std::string text_;
};

void add_regions(const access::DiskFacts& facts, int depth, std::vector<Region>& regions) {
  if (facts.table) {
    for (const auto& one : facts.table->partitions) {
      regions.push_back({one.name, one.storages, depth + 1, one.within.file_system});
      add_regions(one.within, depth + 2, regions);
    }
  }
  if (!facts.group) return;
  for (const auto& volume : facts.group->volumes) {
    if (!volume.storages.empty()) {
      regions.push_back({volume.name, volume.storages, depth + 1, volume.file_system});
    }
    for (const auto& snapshot : volume.snapshots) {
      if (snapshot.storages.empty()) continue;
      regions.push_back({snapshot.name, snapshot.storages, depth + 2, {}});
    }
  }
}

}  // namespace

void add_disk(Json& json, const access::DiskFacts& facts) {
  if (!facts.problem.empty()) json["problem"] = facts.problem;
  if (!facts.other_table.empty()) {
    json["partition_table"] = {{"type", facts.other_table}, {"is_read", false}};
  }
  if (facts.file_system) json["file_system"] = file_system_json(*facts.file_system);
  if (facts.table) json["partition_table"] = table_json(*facts.table);
  if (facts.group) json["lvm2"] = group_json(*facts.group);
}

std::string disk_text(const access::DiskFacts& facts) {
  Lines lines;
  lines.add_disk(facts, 0);
  return lines.take();
}

Json store_json(const access::StoreFacts& facts) {
  Json json;
  if (facts.header) {
    json["valid"] = facts.header->valid;
    json["version"] = facts.header->version;
    json["chunk_size_sectors"] = facts.header->chunk_sectors;
  }
  if (facts.is_new) json["new"] = true;
  if (!facts.problem.empty()) json["problem"] = facts.problem;
  if (facts.list) {
    json["exceptions"] = facts.list->exceptions;
    json["areas"] = facts.list->areas;
    json["allocated_sectors"] = facts.list->usage.allocated_sectors;
    json["total_sectors"] = facts.list->usage.total_sectors;
    json["metadata_sectors"] = facts.list->usage.metadata_sectors;
  }
  return json;
}

std::string store_text(const access::StoreFacts& facts, const std::string& name) {
  std::string text;
  const auto row = [&](std::string_view key, const std::string& value) {
    text += text_line("{:<16}{}", fmt::format("{}:", key), value);
  };
  const uint64_t chunk = facts.header ? facts.header->chunk_sectors * kSectorSize : 0;
  if (facts.header) {
    row("valid", facts.header->valid ? "yes, says its header ('snaptool verify' checks the rest)"
                                     : "no (overflowed, or a write failed)");
    row("chunk size", fmt::format("{} ({} bytes)", format_size(chunk), chunk));
  }
  if (facts.list) {
    const Usage& usage = facts.list->usage;
    row("exceptions", fmt::format("{} ({} of data)", facts.list->exceptions,
                                  format_size(facts.list->exceptions * chunk)));
    const bool is_sane = usage.allocated_sectors <= usage.total_sectors;
    row("fill", !is_sane ? "more than there is: entries are damaged ('snaptool verify' says more)"
                         : fmt::format("{:.2f}% ({} of {} sectors, {} of them metadata)",
                                       fill_of(usage), usage.allocated_sectors, usage.total_sectors,
                                       usage.metadata_sectors));
  }
  if (facts.is_new) {
    row("state",
        "a new store, all zeros: it shows the origin, and the kernel would make it a store");
  } else if (!facts.problem.empty()) {
    row("problem", facts.problem);
    text += text_line("'snaptool verify {}' says more", name);
  } else {
    text +=
        "A store does not name its origin, nor does it say whether it holds new data (written to\n"
        "the snapshot) or old data (saved when the origin was written to).\n";
  }
  return text;
}

std::string file_system_text(const access::FileSystemFacts& facts) {
  std::string text = facts.type;
  if (!facts.label.empty()) text += fmt::format(" '{}'", facts.label);
  if (!facts.uuid.empty()) text += fmt::format(", UUID {}", facts.uuid);
  if (!facts.problem.empty()) text += fmt::format(" ({})", facts.problem);
  return text;
}

std::vector<Region> regions_of(const access::DiskFacts& facts) {
  std::vector<Region> regions;
  add_regions(facts, 0, regions);
  return regions;
}

}  // namespace snaptool::cli
