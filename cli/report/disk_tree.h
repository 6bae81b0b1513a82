// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/support/json.h"
#include "libsnap/access/facts.h"

namespace snaptool::cli {

// Facts of disks and stores, as info prints them: as json, or as lines for a person.

void add_disk(Json& json, const access::DiskFacts& facts);
std::string disk_text(const access::DiskFacts& facts);

Json store_json(const access::StoreFacts& facts);
std::string store_text(const access::StoreFacts& facts, const std::string& name);

// A partition or volume of a disk, and where its bytes lie.
struct Region {
  std::string name;  // as it would be named behind the disk: "#p2", "#p2#vg0/data"
  std::vector<Storage> storages;
  int depth = 0;  // 1: a partition, or a volume of an unpartitioned disk; ...
  std::optional<access::FileSystemFacts> file_system;
};
// "ext4 'root', UUID 1234".
std::string file_system_text(const access::FileSystemFacts& facts);
std::vector<Region> regions_of(const access::DiskFacts& facts);

}  // namespace snaptool::cli
