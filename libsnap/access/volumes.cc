// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/volumes.h"

#include <algorithm>

namespace snaptool::access {
namespace {

template <typename List, typename Match>
auto find_in(const List& list, const Match& match) {
  const auto found = std::find_if(list.begin(), list.end(), match);
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

const Volume* VolumeGroupFacts::find(std::string_view volume) const {
  return find_in(volumes, [&](const Volume& one) { return one.name == volume; });
}

const VolumeSnapshot* VolumeGroupFacts::find_snapshot(std::string_view snapshot) const {
  return find_in(snapshots, [&](const VolumeSnapshot& one) { return one.name == snapshot; });
}

const VolumeSnapshot* VolumeGroupFacts::merging_into(std::string_view origin) const {
  return find_in(snapshots,
                 [&](const VolumeSnapshot& one) { return one.merging && one.origin == origin; });
}

std::vector<const VolumeSnapshot*> VolumeGroupFacts::snapshots_of(std::string_view origin) const {
  std::vector<const VolumeSnapshot*> found;
  for (const VolumeSnapshot& snapshot : snapshots) {
    if (snapshot.origin == origin) found.push_back(&snapshot);
  }
  return found;
}

}  // namespace snaptool::access
