// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/volume.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool::ntfs {
namespace {

constexpr size_t kMostMftRuns = 1U << 20U;

}  // namespace

Result<void> Volume::open() {
  std::array<std::byte, kBootBytes> bytes{};
  SNAP_TRY(pages_.read_data(0, bytes));
  SNAP_ASSIGN(boot_, parse_boot(bytes));
  held_clusters_ = std::min(boot_.clusters, div_round_up(pages_.size(), boot_.cluster_bytes()));
  const uint64_t size = boot_.sectors * boot_.sector_bytes;
  if (size > pages_.size()) {
    warn(fmt::format("the image ends {} bytes before its file system", size - pages_.size()));
  }
  return find_mft();
}

Result<std::shared_ptr<const Record>> Volume::first_record(uint64_t cluster) {
  auto record = std::make_shared<Record>();
  record->bytes.resize(boot_.record_bytes);
  SNAP_TRY(pages_.read(cluster << boot_.cluster_bits, record->bytes));
  SNAP_TRY(mend_sectors(record->bytes, "FILE", "record 0"));
  SNAP_ASSIGN(record->head, parse_record(record->bytes, kMftRecord));
  return std::shared_ptr<const Record>(std::move(record));
}

Result<void> Volume::find_mft() {
  auto first = first_record(boot_.mft_cluster);
  if (!first && first.error().code() == ErrorCode::kCorruption &&
      boot_.mirror_cluster < boot_.clusters) {
    auto copy = first_record(boot_.mirror_cluster);
    if (copy) {
      warn(fmt::format("{}: its copy was read", first.error().message()));
      first = std::move(copy);
    }
  }
  SNAP_ASSIGN(mft_record_, std::move(first));
  std::optional<Attribute> data;
  std::optional<Attribute> list;
  SNAP_TRY(visit_attributes(*mft_record_, [&](const Attribute& one) -> Result<bool> {
    if (one.type == kData && one.name.empty() && !data) data = one;
    if (one.type == kAttributeList) list = one;
    return true;
  }));
  if (!data || data->is_resident || data->first != 0) {
    return damaged("record 0 does not say where the MFT lies");
  }
  mft_bytes_ = data->initialized;
  SNAP_TRY(add_mft_extent(*data));
  if (list) SNAP_TRY(mft_damage_.note(follow_list(*list)));
  if (records_ == 0) return damaged("its MFT has no records");
  if (records_ < mft_bytes_ / boot_.record_bytes) {
    mft_damage_.add("where a part of the MFT lies is not known");
  }
  return {};
}

Result<void> Volume::add_mft_extent(const Attribute& attribute) {
  const uint64_t end = mft_runs_.empty() ? 0 : mft_runs_.back().first + mft_runs_.back().length;
  if (attribute.first != end) return damaged("the runs of the MFT have a gap");
  SNAP_TRY(visit_mapping(attribute, 0, boot_.clusters, [&](const Run& run) -> Result<bool> {
    if (run.place && *run.place < held_clusters_) {
      mft_held_ += std::min(run.length, held_clusters_ - *run.place);
    }
    if (mft_held_ > held_clusters_ || mft_runs_.size() == kMostMftRuns) {
      return damaged("the MFT has more clusters than the image");
    }
    mft_runs_.push_back(run);
    return true;
  }));
  count_records();
  return {};
}

void Volume::count_records() {
  const Run end = mft_runs_.empty() ? Run() : mft_runs_.back();
  const uint64_t mapped = (end.first + end.length) << boot_.cluster_bits;
  if (mapped < mft_bytes_) {
    records_ = mapped / boot_.record_bytes;
  } else {
    records_ = mft_bytes_ / boot_.record_bytes;
  }
}

// Each further extent of the MFT lies in a record that those before hold.
Result<void> Volume::follow_list(const Attribute& list) {
  SNAP_ASSIGN(const std::vector<std::byte> bytes, list_bytes(list));
  return visit_list(bytes, 0, [&](const ListEntry& entry) -> Result<void> {
    if (entry.type != kData || !entry.name.empty() || entry.first == 0) return {};
    return follow_entry(entry);
  });
}

Result<void> Volume::follow_entry(const ListEntry& entry) {
  SNAP_ASSIGN(const auto extension, record(entry.record.id));
  if (extension->head.base.id != kMftRecord || extension->head.sequence != entry.record.sequence ||
      !extension->head.is_used) {
    return damaged(fmt::format("record {} has no part of the MFT", entry.record.id));
  }
  bool found = false;
  SNAP_TRY(visit_attributes(*extension, [&](const Attribute& one) -> Result<bool> {
    found = one.type == kData && one.name.empty() && !one.is_resident && one.first == entry.first;
    if (found) SNAP_TRY(add_mft_extent(one));
    return !found;
  }));
  if (found) return {};
  return damaged(fmt::format("record {} has no part of the MFT", entry.record.id));
}

Result<std::vector<std::byte>> Volume::list_bytes(const Attribute& list) {
  if (list.is_resident) return std::vector<std::byte>(list.value.begin(), list.value.end());
  if (list.size > kMostListBytes) return damaged("the list of the MFT's attributes is too long");
  std::vector<std::byte> bytes(list.size);
  SNAP_TRY(visit_mapping(list, 0, boot_.clusters, [&](const Run& run) -> Result<bool> {
    const uint64_t from = run.first << boot_.cluster_bits;
    if (from >= bytes.size()) return false;
    if (!run.place) return damaged("the list of the MFT's attributes has a hole");
    const size_t length = std::min<uint64_t>(run.length << boot_.cluster_bits, bytes.size() - from);
    SNAP_TRY(pages_.read(*run.place << boot_.cluster_bits, std::span(bytes).subspan(from, length)));
    return true;
  }));
  return bytes;
}

Result<void> Volume::read_mft(uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const uint64_t cluster = offset >> boot_.cluster_bits;
    const auto run =
        std::upper_bound(mft_runs_.begin(), mft_runs_.end(), cluster,
                         [](uint64_t at, const Run& one) { return at < one.first + one.length; });
    if (run == mft_runs_.end()) return damaged("the MFT ends before");
    if (!run->place) return damaged("the MFT has a hole there");
    const uint64_t within = offset - (run->first << boot_.cluster_bits);
    const size_t length =
        std::min<uint64_t>(out.size(), (run->length << boot_.cluster_bits) - within);
    SNAP_TRY(pages_.read((*run->place << boot_.cluster_bits) + within, out.first(length)));
    out = out.subspan(length);
    offset += length;
  }
  return {};
}

Result<std::shared_ptr<const Record>> Volume::record(uint64_t id) {
  if (id >= records_) {
    return Error(ErrorCode::kNotFound, fmt::format("there is no record {} in the MFT", id));
  }
  if (id == kMftRecord) return mft_record_;
  auto& known = recent_[id % recent_.size()];
  if (known && known->id == id) return known;
  auto record = std::make_shared<Record>();
  record->id = id;
  record->bytes.resize(boot_.record_bytes);
  SNAP_TRY(read_mft(id * boot_.record_bytes, record->bytes));
  SNAP_TRY(mend_sectors(record->bytes, "FILE", fmt::format("record {}", id)));
  SNAP_ASSIGN(record->head, parse_record(record->bytes, id));
  known = std::move(record);
  return known;
}

std::pair<uint64_t, uint64_t> Volume::records_in(uint64_t offset, uint64_t length) const {
  return {std::min(offset / boot_.record_bytes, records_),
          std::min(div_round_up(offset + length, boot_.record_bytes), records_)};
}

Result<void> Volume::visit_records(Damage& damage,
                                   const std::function<Result<void>(uint64_t id)>& visit) {
  uint64_t done = 0;
  for (const Run& run : mft_runs_) {
    const uint64_t place = run.place.value_or(boot_.clusters) << boot_.cluster_bits;
    const uint64_t length = run.length << boot_.cluster_bits;
    const uint64_t held = place < pages_.size() ? std::min(length, pages_.size() - place) : 0;
    const uint64_t offset = run.first << boot_.cluster_bits;
    if (held < length && records_in(offset + held, length - held).first < records_) {
      damage.add(fmt::format("the image does not have record {} of the MFT",
                             records_in(offset + held, 1).first));
    }
    if (held == 0) continue;
    const auto [first, end] = records_in(offset, held);
    for (uint64_t id = std::max(first, done); id < end; ++id) {
      if (id % 1024 == 0) SNAP_TRY(pages_.poll());
      SNAP_TRY(visit(id));
    }
    done = std::max(done, end);
  }
  return {};
}

Result<void> Volume::visit_records_at(uint64_t offset, uint64_t length,
                                      const std::function<Result<void>(uint64_t id)>& visit) {
  const uint64_t end = offset + std::min(length, UINT64_MAX - offset);
  for (const Run& run : mft_runs_) {
    if (!run.place) continue;
    const uint64_t place = *run.place << boot_.cluster_bits;
    const uint64_t from = std::max(offset, place);
    const uint64_t to = std::min({end, place + (run.length << boot_.cluster_bits), pages_.size()});
    if (from >= to) continue;
    const auto [first, last] =
        records_in((run.first << boot_.cluster_bits) + (from - place), to - from);
    for (uint64_t id = first; id < last; ++id) {
      if (id % 1024 == 0) SNAP_TRY(pages_.poll());
      SNAP_TRY(visit(id));
    }
  }
  return {};
}

Result<void> Volume::visit_attributes(const Record& record,
                                      const std::function<Result<bool>(const Attribute&)>& visit) {
  size_t at = record.head.attributes;
  while (true) {
    SNAP_ASSIGN(const auto attribute,
                parse_attribute(record.bytes, record.head, record.id, at, at));
    if (!attribute) return {};
    SNAP_ASSIGN(const bool goes_on, visit(*attribute));
    if (!goes_on) return {};
  }
}

}  // namespace snaptool::ntfs
