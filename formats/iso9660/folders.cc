// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/folders.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"

namespace snaptool::iso9660 {
namespace {

constexpr size_t kMostFolders = size_t{1} << 18U;  // path tables have numbers for 2^16
constexpr size_t kMostSections = size_t{1} << 14U;

}  // namespace

Result<void> Folders::claim(const FolderPlace& place) {
  if (place.start >= place.end) return {};
  const auto next = places_.upper_bound(place.start);
  if (next == places_.end() || next->second.start >= place.end) {
    if (places_.size() >= kMostFolders) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("it has more than {} folders", kMostFolders));
    }
    places_.emplace(place.end, place);
    return {};
  }
  const FolderPlace& there = next->second;
  if (there.start == place.start && there.end == place.end && there.id == place.id) return {};
  return damaged(
      fmt::format("the folder at byte {} is where one is that another record leads to (byte {}, "
                  "not byte {})",
                  place.start, there.id, place.id));
}

std::optional<FolderPlace> Folders::find(uint64_t at) const {
  const auto next = places_.upper_bound(at);
  if (next == places_.end() || !next->second.has(at)) return std::nullopt;
  return next->second;
}

// Puts together the records of each file.
class Folders::Reader {
 public:
  Reader(Volume& volume, const FolderPlace& place, Damage& damage,
         const std::function<Result<bool>(Listed&)>& visit)
      : volume_(volume), place_(place), damage_(damage), visit_(visit) {}

  // Whether more is wanted.
  Result<bool> read_sector(Bytes sector, uint64_t at, bool is_first) {
    while (!sector.empty() && sector[0] != std::byte{0}) {
      const auto record = parse_record(sector, at);
      if (!record) {
        damage_.add(record.error());
        file_.reset();
        return true;
      }
      if (is_first) check_self(*record);
      is_first = false;
      if (record->orders_differ) volume_.warn_of_orders(at);
      SNAP_ASSIGN(const bool goes_on, add(*record));
      if (!goes_on) return false;
      sector = sector.subspan(record->length);
      at += record->length;
    }
    return true;
  }
  void finish() {
    if (file_) {
      damage_.add(fmt::format("the file at byte {} has no last record", file_->record.at));
    }
  }

 private:
  // Linux takes the size that is here; what leads to the folder may hide, or show, some more.
  void check_self(const Record& record) {
    const auto start = volume_.place_of(record);
    if (record.is_self() && start && *start == place_.start &&
        record.size == place_.end - place_.start) {
      return;
    }
    damage_.add(
        fmt::format("the folder at byte {} does not begin with a record of itself, of {} bytes",
                    place_.start, place_.end - place_.start));
  }

  Result<bool> add(const Record& record) {
    if (record.is_self() || record.is_parent()) return true;
    if (!file_) {
      file_.emplace();
      file_->record = record;
    } else if (record.name() != file_->record.name()) {
      damage_.add(
          fmt::format("the file at byte {} has records with other names", file_->record.at));
    }
    add_section(record);
    if (record.goes_on()) return true;
    Listed file = std::move(*file_);
    file_.reset();
    return visit_(file);
  }

  void add_section(const Record& record) {
    const Descriptor& descriptor = volume_.descriptor();
    file_->size += record.size;
    if (record.size == 0 || file_->unreadable) return;
    if (descriptor.volumes > 1 && record.volume != descriptor.volume) {
      file_->unreadable = Error(ErrorCode::kUnsupported,
                                fmt::format("it lies on volume {} of a set of {}; this is {}",
                                            record.volume, descriptor.volumes, descriptor.volume));
    } else if (record.is_interleaved()) {
      file_->unreadable =
          Error(ErrorCode::kUnsupported, "it is interleaved with another file, which is not read");
    } else if (file_->sections.size() >= kMostSections) {
      file_->unreadable = Error(ErrorCode::kUnsupported,
                                fmt::format("it is in more than {} pieces", kMostSections));
    } else {
      auto place = volume_.place_of(record);
      if (place) {
        file_->sections.push_back({*place, record.size});
      } else {
        file_->unreadable = std::move(place).error();
      }
    }
  }

  Volume& volume_;
  const FolderPlace& place_;
  Damage& damage_;
  const std::function<Result<bool>(Listed&)>& visit_;
  std::optional<Listed> file_;  // whose last record was not yet come to
};

Result<void> Folders::visit(const FolderPlace& place, uint64_t from, Damage& damage,
                            const std::function<Result<bool>(Listed&)>& visit) {
  Reader reader(volume_, place, damage, visit);
  if (place.start >= place.end) {
    damage.add(fmt::format("the folder of the record at byte {} has no bytes", place.id));
  }
  IoBytes sector;
  for (uint64_t at = from; at < place.end; at += kSectorBytes) {
    SNAP_TRY(volume_.pages().poll());
    sector.resize(std::min(kSectorBytes, place.end - at));
    auto read = volume_.pages().read(at, sector);
    if (!read) {
      SNAP_TRY(damage.note(std::move(read)));
      break;  // the image ends
    }
    SNAP_ASSIGN(const bool goes_on, reader.read_sector(sector, at, at == place.start));
    if (!goes_on) return {};
  }
  reader.finish();
  return {};
}

Result<std::optional<Listed>> Folders::find_file(const FolderPlace& place, uint64_t at) {
  // From the sector before on: a record there may say that the first one goes on with its file.
  const uint64_t sector = place.start + round_down(at - place.start, kSectorBytes);
  const uint64_t from = sector > place.start ? sector - kSectorBytes : sector;
  std::optional<Listed> found;
  Damage ignored;  // it is what lists the folder that tells of it
  SNAP_TRY(visit(place, from, ignored, [&](Listed& file) -> Result<bool> {
    if (file.record.at == at) found = std::move(file);
    return file.record.at < at;
  }));
  return found;
}

}  // namespace snaptool::iso9660
