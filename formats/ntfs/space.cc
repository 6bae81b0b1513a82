// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/space.h"

#include <fmt/format.h>

#include <algorithm>

namespace snaptool::ntfs {
namespace {

using access::SpaceKind;

constexpr size_t kMostTables = 1U << 20U;
constexpr uint64_t kMostScanned = 32768;  // clusters, for one answer
// Of system files, the folders are none of these, and the one of bad clusters has the whole volume.
constexpr std::array<uint64_t, 9> kSystemRecords = {0, 1, 2, 3, 4, 6, 7, 9, 10};

SpaceKind kind_of(uint64_t id, const Stream& stream) {
  const bool is_content = stream.type == kData && stream.name.empty();
  if (id == kMftRecord && is_content) return SpaceKind::kNodes;
  return id == kLogRecord && is_content ? SpaceKind::kJournal : SpaceKind::kMetadata;
}

}  // namespace

Result<void> Space::prepare() {
  if (prepared_) return {};
  tables_.clear();
  for (const uint64_t id : kSystemRecords) {
    auto added = add_file(id);
    if (added) continue;
    const ErrorCode code = added.error().code();
    if (code != ErrorCode::kCorruption && code != ErrorCode::kNotFound) return added;
    volume_.warn(fmt::format("where the system file of record {} lies is not known: {}", id,
                             added.error().describe()));
  }
  sort_tables();
  SNAP_TRY(bitmap_damage_.note(load_bitmap()));
  prepared_ = true;
  return {};
}

Result<void> Space::load_bitmap() {
  auto file = load_file(volume_, kBitmapRecord);
  if (!file && file.error().code() == ErrorCode::kNotFound) {
    return damaged(file.error().describe());
  }
  SNAP_ASSIGN(bitmap_file_, std::move(file));
  const Stream* const bitmap = bitmap_file_->find(kData);
  if (bitmap == nullptr) return damaged("there is no bitmap of its clusters");
  bits_.emplace(reader_, *bitmap);
  return {};
}

Result<void> Space::add_file(uint64_t id) {
  SNAP_ASSIGN(const auto file, load_file(volume_, id));
  for (const Stream& stream : file->streams) {
    const SpaceKind kind = kind_of(id, stream);
    SNAP_TRY(visit_clusters(volume_, stream, [&](const Run& run) -> Result<bool> {
      if (run.place) tables_.push_back({*run.place, *run.place + run.length, kind});
      return tables_.size() < kMostTables;
    }));
  }
  return {};
}

// What two have is the first one's.
void Space::sort_tables() {
  std::sort(tables_.begin(), tables_.end(),
            [](const Table& a, const Table& b) { return a.first < b.first; });
  uint64_t end = 0;
  for (Table& table : tables_) {
    table.first = std::max(table.first, end);
    end = std::max(table.end, end);
  }
  std::erase_if(tables_, [](const Table& table) { return table.first >= table.end; });
  tables_.shrink_to_fit();
}

Result<std::pair<SpaceKind, uint64_t>> Space::at(uint64_t offset) {
  SNAP_TRY(prepare());
  const unsigned bits = volume_.boot().cluster_bits;
  const uint64_t clusters = volume_.boot().clusters;
  const uint64_t cluster = offset >> bits;
  // The copy of the boot sector, and what is less than a cluster.
  if (cluster >= clusters) {
    return std::pair(SpaceKind::kMetadata,
                     (volume_.boot().sectors + 1) * volume_.boot().sector_bytes);
  }
  const auto table = std::upper_bound(tables_.begin(), tables_.end(), cluster,
                                      [](uint64_t at, const Table& one) { return at < one.end; });
  if (table != tables_.end() && table->first <= cluster) {
    return std::pair(table->kind, table->end << bits);
  }
  const uint64_t limit = std::min(
      {table != tables_.end() ? table->first : clusters, cluster + kMostScanned, clusters});
  if (!bits_) {
    SNAP_TRY(bitmap_damage_.result());
    return damaged("there is no bitmap of its clusters");
  }
  SNAP_ASSIGN(const bool used, bits_->at(cluster));
  uint64_t end = cluster + 1;
  for (; end < limit; ++end) {
    SNAP_ASSIGN(const bool next, bits_->at(end));
    if (next != used) break;
  }
  return std::pair(used ? SpaceKind::kFile : SpaceKind::kFree, end << bits);
}

}  // namespace snaptool::ntfs
