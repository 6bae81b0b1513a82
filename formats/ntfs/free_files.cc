// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/free_files.h"

#include <fmt/format.h>

#include <algorithm>

namespace snaptool::ntfs {

Result<void> FreeFiles::prepare() {
  if (prepared_) return {};
  children_.clear();
  bool all = true;
  Damage damage;  // whoever visits the nodes is told
  const auto add = [&](uint64_t id) -> Result<void> {
    const auto record = volume_.record(id);
    if (!record) return damage.note(record.error());
    if ((*record)->head.is_used || !(*record)->head.is_base()) return {};
    return damage.note(
        Volume::visit_attributes(**record, [&](const Attribute& one) -> Result<bool> {
          if (one.type != kFileName || !one.is_resident) return true;
          SNAP_ASSIGN(const FileName name, parse_file_name(one.value));
          all = children_.size() < kMostChildren;
          if (all) children_.push_back({name.parent.id, id});
          return all;
        }));
  };
  SNAP_TRY(volume_.visit_records(damage, add));
  std::sort(children_.begin(), children_.end());
  children_.erase(std::unique(children_.begin(), children_.end()), children_.end());
  children_.shrink_to_fit();
  if (!all) {
    volume_.warn(fmt::format("of what was deleted, only {} names are shown", kMostChildren));
  }
  prepared_ = true;
  return {};
}

std::vector<uint64_t> FreeFiles::in_folder(uint64_t folder) const {
  std::vector<uint64_t> found;
  for (auto at = std::lower_bound(children_.begin(), children_.end(), Child{folder, 0});
       at != children_.end() && at->folder == folder; ++at) {
    found.push_back(at->record);
  }
  return found;
}

}  // namespace snaptool::ntfs
