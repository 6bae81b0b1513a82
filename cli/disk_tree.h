// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/invocation.h"
#include "cli/json.h"
#include "libsnap/io/file.h"

namespace snaptool::cli {

// A partition or volume of a disk, and where its bytes lie.
struct Region {
  std::string name;  // as it would be named behind the disk: "#p2", "#p2#vg0/data"
  std::vector<Storage> storages;
  int depth = 0;  // 1: a partition, or a volume of an unpartitioned disk; ...
};

// What is in a file: a store, partitions, volume groups with their volumes and snapshots.
struct DiskTree {
  std::string text;  // lines for a person
  std::vector<Region> regions;
};

// Describes a file, or several that are PVs of one volume group. What is damaged is said in its
// place. Adds to `json`. Errors: kIo; kInterrupted.
Result<DiskTree> describe_disk(const Invocation& invocation,
                               const std::vector<std::shared_ptr<File>>& files, Json& json);

// What is known of a store without its origin, and lines of it for a person, under "image:" and
// such.
Result<Json> describe_store(File& file, const Cancel& cancel);
std::string store_text(const Json& store, const std::string& name);

}  // namespace snaptool::cli
