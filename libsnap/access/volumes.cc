// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/volumes.h"

#include <fmt/format.h>

namespace snaptool::access {
namespace {

template <typename Index>
std::optional<size_t> find_in(const Index& index, std::string_view name) {
  const auto found = index.find(name);
  return found == index.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::string shared_with(const Partition& partition) {
  if (partition.over_table) return "the partition table";
  return fmt::format("partition {}", partition.overlaps);
}

bool VolumeNames::add_volume(const std::string& name) {
  return volumes_.emplace(name, volumes_.size()).second;
}

bool VolumeNames::add_snapshot(const std::string& name, const std::string& origin) {
  const size_t position = snapshots_.size();
  if (!snapshots_.emplace(name, position).second) return false;
  by_origin_.emplace(origin, position);
  return true;
}

std::optional<size_t> VolumeNames::volume(std::string_view name) const {
  return find_in(volumes_, name);
}

std::optional<size_t> VolumeNames::snapshot(std::string_view name) const {
  return find_in(snapshots_, name);
}

std::vector<size_t> VolumeNames::snapshots_of(std::string_view origin) const {
  std::vector<size_t> positions;
  const auto [begin, end] = by_origin_.equal_range(origin);
  for (auto at = begin; at != end; ++at) positions.push_back(at->second);
  return positions;
}

const Volume* VolumeGroupFacts::find(std::string_view volume) const {
  const auto position = names.volume(volume);
  return position ? &volumes[*position] : nullptr;
}

const VolumeSnapshot* VolumeGroupFacts::find_snapshot(std::string_view snapshot) const {
  const auto position = names.snapshot(snapshot);
  return position ? &snapshots[*position] : nullptr;
}

const VolumeSnapshot* VolumeGroupFacts::merging_into(std::string_view origin) const {
  for (const size_t position : names.snapshots_of(origin)) {
    if (snapshots[position].merging) return &snapshots[position];
  }
  return nullptr;
}

std::vector<const VolumeSnapshot*> VolumeGroupFacts::snapshots_of(std::string_view origin) const {
  std::vector<const VolumeSnapshot*> found;
  for (const size_t position : names.snapshots_of(origin)) found.push_back(&snapshots[position]);
  return found;
}

}  // namespace snaptool::access
