// SPDX-License-Identifier: Apache-2.0
#include "cli/disk_tree.h"

#include <fmt/format.h>

#include "cli/json.h"
#include "cli/stdio.h"
#include "libsnap/access/opener.h"
#include "libsnap/snap/persistent_store.h"

namespace snaptool::cli {

// What is known of a store without its origin.
Result<Json> describe_store(File& file, const Cancel& cancel) {
  Json json;
  SNAP_ASSIGN(auto examined, PersistentStore::examine(file));
  if (!examined.store) {
    json["problem"] = examined.findings.front().message;
    return json;
  }
  PersistentStore& store = *examined.store;
  if (store.state() == StoreState::kNone) {
    json["new"] = true;
    return json;
  }
  json["valid"] = store.state() == StoreState::kValid;
  json["version"] = store.header().version;
  json["chunk_size_sectors"] = store.header().chunk_size;
  const auto read = store.read_metadata(cancel);
  if (!read) {
    if (!store.missing_area()) return read.error();
    json["problem"] = read.error().message();
    return json;
  }
  const Usage usage = store.usage();
  json["exceptions"] = store.exceptions();
  json["areas"] = store.current_area() + 1;
  json["allocated_sectors"] = usage.allocated_sectors;
  json["total_sectors"] = usage.total_sectors;
  json["metadata_sectors"] = usage.metadata_sectors;
  return json;
}

std::string store_text(const Json& store, const std::string& name) {
  std::string text;
  const auto row = [&](std::string_view key, const std::string& value) {
    text += fmt::format("{:<16}{}\n", fmt::format("{}:", key), value);
  };
  if (store.contains("chunk_size_sectors")) {
    const auto chunk = store.at("chunk_size_sectors").number() * kSectorSize;
    row("valid", store.at("valid").is_true() ? "yes" : "no (overflowed, or a write failed)");
    row("chunk size", fmt::format("{} ({} bytes)", format_size(chunk), chunk));
    if (store.contains("exceptions")) {
      const auto count = store.at("exceptions").number();
      row("exceptions", fmt::format("{} ({} of data)", count, format_size(count * chunk)));
      const auto allocated = store.at("allocated_sectors").number();
      const auto total = store.at("total_sectors").number();
      row("fill", fmt::format("{:.2f}% ({} of {} sectors, {} of them metadata)",
                              100.0 * static_cast<double>(allocated) / static_cast<double>(total),
                              allocated, total, store.at("metadata_sectors").number()));
    }
  }
  if (store.contains("new")) {
    row("state", "a new store, all zeros: the view is the origin, and the kernel makes it a store");
  } else if (store.contains("problem")) {
    row("problem", store.at("problem").string());
    text += fmt::format("'snaptool verify {}' says more\n", name);
  } else {
    text +=
        "A store does not name its origin, nor whether it holds new data (written to the\n"
        "snapshot) or old data (saved when the origin was written).\n";
  }
  return text;
}

namespace {

// Whether an error says that something is wrong with the content: that is told in its place.
bool is_finding(const Error& error) {
  return error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kNotFound ||
         error.code() == ErrorCode::kUnsupported || error.code() == ErrorCode::kInvalidArgument;
}

class Describer {
 public:
  Describer(const access::Context& context, std::optional<std::string> backup)
      : context_(context), volumes_(context.drivers.volumes), backup_(std::move(backup)) {}

  Result<void> describe(const std::vector<std::shared_ptr<File>>& files, const std::string& name,
                        int depth, Json& json) {
    constexpr int kDeepest = 3;  // a disk in a volume in a partition
    if (files.size() > 1) return describe_group(files, name, depth, json);
    File& file = *files.front();
    SNAP_ASSIGN(const bool is_pv, volumes_.is_physical_volume(file));
    if (is_pv) return describe_group(files, name, depth, json);
    const auto table = volumes_.read_partitions(file);
    if (!table) {
      if (!is_finding(table.error())) return table.error();
      json["problem"] = table.error().describe();
      line(depth, fmt::format("problem: {}", table.error().describe()));
      return {};
    }
    if (*table && depth < kDeepest)
      return describe_table(**table, files.front(), name, depth, json);
    if (*table) return {};
    SNAP_ASSIGN(const std::string_view other, volumes_.unread_partitions(file));
    if (other.empty()) return {};
    json["partition_table"] = {{"type", other}, {"is_read", false}};
    line(depth, fmt::format("partition table: {}, which snaptool does not read", other));
    return {};
  }

  bool used_backup() const { return used_backup_; }
  DiskTree take() { return std::move(tree_); }

 private:
  void line(int depth, std::string_view text) {
    tree_.text += fmt::format("{:{}}{}\n", "", 2 * depth, printable(text));
  }

  Result<void> describe_table(const access::PartitionTable& table,
                              const std::shared_ptr<File>& disk, const std::string& name, int depth,
                              Json& json) {
    const bool gpt = table.kind == access::PartitionTable::Kind::kGpt;
    Json& described = json["partition_table"];
    described = {{"type", gpt ? "gpt" : "mbr"},
                 {"id", table.id},
                 {"sector_size", table.sector_size},
                 {"warnings", table.warnings},
                 {"partitions", Json::array()}};
    line(depth, fmt::format("partition table: {} {}", gpt ? "GPT" : "MBR", table.id));
    for (const std::string& warning : table.warnings) {
      line(depth, fmt::format("problem: {}", warning));
    }
    for (const access::Partition& partition : table.partitions) {
      const std::string part_name = fmt::format("{}#p{}", name, partition.number);
      const std::string_view type = volumes_.partition_type_name(partition.type);
      Json one = {{"number", partition.number}, {"offset", partition.offset},
                  {"length", partition.length}, {"type", partition.type},
                  {"type_name", type},          {"name", partition.name},
                  {"uuid", partition.uuid},     {"passes_end", partition.passes_end}};
      line(depth + 1,
           fmt::format("#p{:<4} {:>10}  at byte {:<14} {}{}{}", partition.number,
                       format_size(partition.length), partition.offset,
                       type.empty() ? std::string_view(partition.type) : type,
                       partition.name.empty() ? "" : fmt::format(" '{}'", partition.name),
                       partition.passes_end ? ", passes the end of the disk" : ""));
      std::vector<PartSegment> segments;
      segments.push_back({partition.length, {{disk, partition.offset}}, 0});
      const std::shared_ptr<File> file = std::make_shared<PartFile>(part_name, std::move(segments));
      tree_.regions.push_back({part_name, file->storages(), depth + 1});
      const uint64_t left = disk->size() > partition.offset ? disk->size() - partition.offset : 0;
      if (left > 0) {
        const uint64_t length = std::min(left, partition.length);
        SNAP_TRY(describe(
            {std::make_shared<PartFile>(
                part_name, std::vector<PartSegment>{{length, {{disk, partition.offset}}, 0}})},
            part_name, depth + 2, one));
      }
      described["partitions"].push_back(std::move(one));
    }
    return {};
  }

  Result<void> describe_group(const std::vector<std::shared_ptr<File>>& files,
                              const std::string& name, int depth, Json& json) {
    auto open = volumes_.open_group(files, backup_);
    used_backup_ = true;
    if (!open) {
      // What the user named is used, or it is an error.
      if (!is_finding(open.error()) || backup_) return open.error();
      json["lvm2"] = {{"problem", open.error().describe()}};
      line(depth, fmt::format("LVM2 physical volume: {}", open.error().describe()));
      return {};
    }
    const access::VolumeGroupFacts& group = (*open)->facts();
    Json& described = json["lvm2"];
    described = {{"vg_name", group.name},
                 {"vg_uuid", group.uuid},
                 {"seqno", group.seqno},
                 {"extent_size", group.extent_bytes},
                 {"warnings", (*open)->warnings()},
                 {"pvs", Json::array()},
                 {"lvs", Json::array()}};
    line(depth, fmt::format("LVM2 volume group {} (metadata {}, extents of {}, {} PV{})",
                            group.name, group.seqno, format_size(group.extent_bytes),
                            group.pvs.size(), group.pvs.size() == 1 ? "" : "s"));
    for (const std::string& warning : (*open)->warnings()) {
      line(depth, fmt::format("problem: {}", warning));
    }
    for (const access::PhysicalVolume& pv : group.pvs) {
      described["pvs"].push_back({{"name", pv.key}, {"uuid", pv.uuid}, {"device_hint", pv.device}});
    }
    for (const access::Volume& lv : group.volumes) {
      if (group.find_snapshot(lv.name) != nullptr) continue;
      SNAP_TRY(describe_volume(**open, lv, name, depth + 1, described["lvs"]));
    }
    return {};
  }

  Result<void> describe_volume(const access::VolumeGroup& open, const access::Volume& lv,
                               const std::string& name, int depth, Json& list) {
    const access::VolumeGroupFacts& group = open.facts();
    const std::string part_name = fmt::format("{}#{}/{}", name, group.name, lv.name);
    Json json = {{"name", lv.name}, {"uuid", lv.uuid}, {"size", lv.size}, {"visible", lv.visible}};
    const auto file = open.open(lv.name, part_name);
    std::string problem;
    if (file) {
      tree_.regions.push_back({part_name, (*file)->storages(), depth});
      problem = missing_text(**file);
      if (!problem.empty()) json["problem"] = problem;
    } else {
      if (!is_finding(file.error())) return file.error();
      problem = file.error().describe();
      json["problem"] = problem;
    }
    line(depth, fmt::format("#{}/{:<16} {:>10}{}{}", group.name, lv.name, format_size(lv.size),
                            lv.visible ? "" : "  hidden", problem.empty() ? "" : "  " + problem));
    json["snapshots"] = Json::array();
    for (const access::VolumeSnapshot* snapshot : group.snapshots_of(lv.name)) {
      SNAP_TRY(describe_snapshot(open, *snapshot, name, depth + 1, json["snapshots"]));
    }
    list.push_back(std::move(json));
    return {};
  }

  Result<void> describe_snapshot(const access::VolumeGroup& open,
                                 const access::VolumeSnapshot& snapshot, const std::string& name,
                                 int depth, Json& list) {
    const access::VolumeGroupFacts& group = open.facts();
    const std::string part_name = fmt::format("{}#{}/{}-cow", name, group.name, snapshot.name);
    Json json = {{"name", snapshot.name},
                 {"origin", snapshot.origin},
                 {"merging", snapshot.merging},
                 {"chunk_size_sectors", snapshot.chunk_sectors},
                 {"cow_size", group.find(snapshot.name)->size}};
    std::string state;
    const auto cow = open.open(snapshot.name, part_name);
    if (!cow) {
      if (!is_finding(cow.error())) return cow.error();
      json["problem"] = state = cow.error().describe();
    } else {
      tree_.regions.push_back({part_name, (*cow)->storages(), depth});
      auto store = describe_store(**cow, context_.cancel);
      if (!store) {
        if (!is_finding(store.error())) return store.error();
        json["problem"] = state = store.error().describe();
      } else {
        state = state_of(*store);
        if (const std::string missing = missing_text(**cow); !missing.empty()) {
          json["problem"] = missing;
          state += ", " + missing;
        }
        json["store"] = std::move(*store);
      }
    }
    line(depth, fmt::format("#{}/{:<14} snapshot, COW of {}, chunks of {}, {}{}", group.name,
                            snapshot.name, format_size(json.at("cow_size").number()),
                            format_size(snapshot.chunk_sectors * kSectorSize), state,
                            snapshot.merging ? ", being merged into its origin" : ""));
    list.push_back(std::move(json));
    return {};
  }

  static std::string missing_text(const PartFile& volume) {
    if (volume.missing() == 0) return {};
    return fmt::format("{} of it lie beyond the end of what was named",
                       format_size(volume.missing()));
  }

  static std::string state_of(const Json& store) {
    if (store.contains("valid") && !store.at("valid").is_true()) return "Invalid";
    if (store.contains("problem")) return store.at("problem").string();
    if (store.contains("new")) return std::string("a new store");
    return fmt::format("{:.2f}% full",
                       100.0 * static_cast<double>(store.at("allocated_sectors").number()) /
                           static_cast<double>(store.at("total_sectors").number()));
  }

  const access::Context context_;
  const access::VolumeDrivers& volumes_;
  std::optional<std::string> backup_;  // of LVM's metadata
  bool used_backup_ = false;
  DiskTree tree_;
};

}  // namespace

Result<DiskTree> describe_disk(const Invocation& invocation,
                               const std::vector<std::shared_ptr<File>>& files, Json& json) {
  const access::Context context = invocation.access();
  SNAP_ASSIGN(auto backup, access::read_group_backup(context));
  Describer describer(context, std::move(backup));
  SNAP_TRY(describer.describe(files, "", 0, json));
  if (invocation.has("vgcfg") && !describer.used_backup()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("there is no LVM2 physical volume for the backup '{}'",
                             *invocation.value("vgcfg")));
  }
  return describer.take();
}

}  // namespace snaptool::cli
