// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "libsnap/access/opener.h"
#include "libsnap/base/printable.h"
#include "libsnap/io/part_file.h"

namespace snaptool::access {
namespace {

std::shared_ptr<File> slice(std::shared_ptr<File> file, const std::string& name, uint64_t offset,
                            uint64_t length) {
  return std::make_shared<PartFile>(
      name, std::vector<PartSegment>{{length, {{std::move(file), offset}}, 0}});
}

Result<std::shared_ptr<File>> open_slice(const std::shared_ptr<File>& file, const Part& part,
                                         const std::string& name) {
  const uint64_t size = file->size();
  const uint64_t length = part.length.value_or(size - std::min(size, part.offset));
  if (part.offset > size || length > size - part.offset) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'#{}' passes the end of '{}' at byte {}",
                                                          part.text, file->name(), size));
  }
  return slice(file, name, part.offset, length);
}

}  // namespace

Result<VolumeName> resolve_part(const VolumeGroup& group, const Part& part) {
  if (part.own_bytes) return VolumeName{part.volume, {}};
  return group.resolve(part.volume);
}

Result<std::optional<std::string>> read_group_backup(const Context& context) {
  const auto& path = context.policy.group_backup;
  if (!path) return std::optional<std::string>();
  SNAP_ASSIGN(const auto file, context.files.open(*path, kLook));
  if (file->size() > context.drivers.volumes.most_backup) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' is too large to be a backup of LVM's metadata", *path));
  }
  std::string text(file->size(), '\0');
  SNAP_TRY(file->read_at(0, std::as_writable_bytes(std::span(text))));
  return std::optional(std::move(text));
}

Result<std::shared_ptr<File>> Opener::open_partition(const std::shared_ptr<File>& disk,
                                                     const Part& part, const std::string& name) {
  SNAP_ASSIGN(const auto table, context_.drivers.volumes.read_partitions(*disk));
  if (!table) {
    return Error(ErrorCode::kNotFound, fmt::format("'{}' has no partition table", disk->name()));
  }
  for (const std::string& warning : table->warnings) context_.notices.warn(warning);
  for (const Partition& partition : table->partitions) {
    if (partition.number != part.number) continue;
    if (writes_ && partition.shares_bytes()) {
      return Error(ErrorCode::kCorruption, fmt::format("'{}' shares bytes with {}: it is not "
                                                       "written to",
                                                       name, shared_with(partition)));
    }
    if (partition.passes_end) {
      context_.notices.warn(
          fmt::format("partition {} continues past the end of '{}': what is missing "
                      "cannot be read",
                      part.number, disk->name()));
    }
    return slice(disk, name, partition.offset, partition.length);
  }
  std::vector<std::string> names;
  for (const Partition& one : table->partitions) names.push_back(fmt::format("p{}", one.number));
  return Error(ErrorCode::kNotFound,
               fmt::format("'{}' has no partition {}, only: {}", disk->name(), part.number,
                           excerpt_list({names.begin(), names.end()})));
}

Result<std::unique_ptr<VolumeGroup>> Opener::group_over(std::vector<std::shared_ptr<File>> devices,
                                                        const Part& part) {
  const std::string first = devices.front()->name();
  SNAP_ASSIGN(const auto backup, read_group_backup(context_));
  SNAP_ASSIGN(auto group, context_.drivers.volumes.open_group(std::move(devices), backup));
  for (const std::string& warning : group->warnings()) {
    context_.notices.warn(warning);
  }
  if (group->facts().name != part.group) {
    return Error(ErrorCode::kNotFound, fmt::format("'{}' holds volume group '{}', not '{}'", first,
                                                   group->facts().name, part.group));
  }
  return group;
}

Result<std::shared_ptr<File>> Opener::open_volume(std::vector<std::shared_ptr<File>> devices,
                                                  const Part& part, const std::string& name) {
  SNAP_ASSIGN(const auto group, group_over(std::move(devices), part));
  const auto doubts = group->doubts();
  if (writes_ && !doubts.empty() && !context_.policy.force) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not written to, since LVM's metadata may be out of date: {}: "
                             "name all PVs of the group",
                             name, doubts.front()));
  }
  SNAP_ASSIGN(const VolumeName volume, resolve_part(*group, part));
  if (volume.snapshot) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is the view of a snapshot within an image: name its halves, "
                             "'{}-real' and '{}-cow'",
                             name, volume.volume, volume.snapshot->name));
  }
  if (const std::string other = group->shares_bytes_with(volume.volume); !other.empty()) {
    const std::string text = fmt::format("'{}' shares bytes with {}", name, other);
    if (writes_) return Error(ErrorCode::kCorruption, text + ": it is not written to");
    context_.notices.warn(text);
  }
  return group->open(volume.volume, name);
}

Result<std::shared_ptr<File>> Opener::open_parts(std::shared_ptr<File> file,
                                                 const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    const std::string name = file->name() + "#" + part.text;
    switch (part.kind) {
      case Part::Kind::kPartition: {
        SNAP_ASSIGN(file, open_partition(file, part, name));
        break;
      }
      case Part::Kind::kSlice: {
        SNAP_ASSIGN(file, open_slice(file, part, name));
        break;
      }
      case Part::Kind::kVolume: {
        SNAP_ASSIGN(file, open_volume({file}, part, name));
        break;
      }
    }
  }
  return file;
}

Result<std::unique_ptr<VolumeGroup>> Opener::open_group(const FileSpec& spec,
                                                        const OpenOptions& options) {
  SNAP_ASSIGN(auto files, open_sources(spec, options));
  if (files.size() == 1) {
    SNAP_ASSIGN(files.front(),
                open_parts(files.front(), {spec.parts.begin(), spec.parts.end() - 1}));
  } else if (spec.parts.size() > 1) {
    FileSpec inner = spec;
    inner.parts.pop_back();
    SNAP_ASSIGN(auto file, open(inner, options));
    files = {std::move(file)};
  }
  return group_over(std::move(files), spec.parts.back());
}

}  // namespace snaptool::access
