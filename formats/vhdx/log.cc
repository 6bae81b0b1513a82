// SPDX-License-Identifier: Apache-2.0
#include "formats/vhdx/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string_view>

#include "libsnap/base/crc32c.h"
#include "libsnap/base/endian.h"

namespace snaptool::vhdx {
namespace {

constexpr uint64_t kMostLog = 256 * kMiB;
constexpr size_t kMostChanges = 1 << 18;
constexpr size_t kDescriptorBytes = 32;
constexpr uint64_t kSlots = kLogUnit / kDescriptorBytes;  // for descriptors, of a unit
constexpr uint64_t kHeaderSlots = 2;                      // of the first unit of an entry

using LogUnit = std::array<std::byte, kLogUnit>;

struct LogEntry {
  uint64_t at = 0;      // from the beginning of the log on
  uint64_t length = 0;  // bytes
  uint64_t tail = 0;    // of the oldest entry that has to be applied, as `at`
  uint64_t sequence = 0;
  uint64_t descriptors = 0;
  uint64_t flushed = 0;              // bytes that the file has for sure
  uint64_t last = 0;                 // bytes that it needs
  const LogEntry* newest = nullptr;  // of the sequence of entries that this is in

  uint64_t descriptor_units() const { return div_round_up(kHeaderSlots + descriptors, kSlots); }
};

bool is_signed(const std::byte* bytes, std::string_view signature) {
  return std::memcmp(bytes, signature.data(), signature.size()) == 0;
}

// Nothing where it makes no sense; of data, without their source.
std::optional<LogChange> parse_descriptor(const std::byte* bytes, uint64_t sequence,
                                          bool& has_data) {
  LogChange change;
  has_data = is_signed(bytes, "desc");
  change.offset = load_le<uint64_t>(bytes + 16);
  change.length = has_data ? kLogUnit : load_le<uint64_t>(bytes + 8);
  std::memcpy(change.ends.data(), bytes + 8, 8);
  std::memcpy(change.ends.data() + 8, bytes + 4, 4);
  const auto end = checked_add(change.offset, change.length);
  const bool is_sound = (has_data || is_signed(bytes, "zero")) && change.offset % kLogUnit == 0 &&
                        change.length % kLogUnit == 0 && end && *end <= kMaxFileSize &&
                        load_le<uint64_t>(bytes + 24) == sequence;
  if (!is_sound) return std::nullopt;
  return change;
}

bool is_data_unit(const LogUnit& unit, uint64_t sequence) {
  return is_signed(unit.data(), "data") &&
         load_le<uint32_t>(unit.data() + 4) == static_cast<uint32_t>(sequence >> 32U) &&
         load_le<uint32_t>(unit.data() + kLogUnit - 4) == static_cast<uint32_t>(sequence);
}

// The entries of a log. They do not overlap, since all their units but the first have other
// signatures, so each unit is read twice at most.
class LogReader {
 public:
  LogReader(File& file, const Header& header, const Cancel& cancel)
      : file_(file), header_(header), cancel_(cancel) {}

  Result<Replay> run() {
    SNAP_TRY(find_entries());
    find_newest();
    SNAP_ASSIGN(const LogEntry* const last, active());
    if (file_.size() < last->flushed) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("it has {} bytes, but had {} when its log was written", file_.size(),
                               last->flushed));
    }
    if (last->last > kMaxFileSize) {
      return Error(ErrorCode::kCorruption,
                   fmt::format("by its log it has {} bytes, which is impossible", last->last));
    }
    Replay replay;
    replay.size = std::max(file_.size(), last->last);
    for (const LogEntry* entry = entry_at(last->tail);; entry = entry_behind(*entry)) {
      SNAP_TRY(collect(*entry, replay));
      if (entry == last) return replay;
    }
  }

 private:
  uint64_t ring() const { return header_.log_length; }
  // Where in the file: the log goes on at its beginning.
  uint64_t place_of(uint64_t at) const { return header_.log_offset + at % ring(); }
  Result<void> read(uint64_t at, LogUnit& unit) { return file_.read_at(place_of(at), unit); }

  const LogEntry* entry_at(uint64_t at) const {
    const auto found = entries_.find(at);
    return found == entries_.end() ? nullptr : &found->second;
  }
  // That which follows it, if it was the next one to be written.
  const LogEntry* entry_behind(const LogEntry& entry) const {
    const LogEntry* const next = entry_at((entry.at + entry.length) % ring());
    return next != nullptr && next->sequence == entry.sequence + 1 ? next : nullptr;
  }

  Result<void> find_entries() {
    for (uint64_t at = 0; at < ring();) {
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_ASSIGN(const auto entry, read_entry(at));
      if (entry) entries_.emplace(at, *entry);
      at += entry ? entry->length : kLogUnit;
    }
    return {};
  }

  // By its first unit.
  std::optional<LogEntry> parse_entry(uint64_t at, const LogUnit& unit) const {
    LogEntry entry;
    entry.at = at;
    entry.length = load_le<uint32_t>(unit.data() + 8);
    entry.tail = load_le<uint32_t>(unit.data() + 12);
    entry.sequence = load_le<uint64_t>(unit.data() + 16);
    entry.descriptors = load_le<uint32_t>(unit.data() + 24);
    entry.flushed = load_le<uint64_t>(unit.data() + 48);
    entry.last = load_le<uint64_t>(unit.data() + 56);
    const bool is_sound = is_signed(unit.data(), "loge") && entry.length > 0 &&
                          entry.length % kLogUnit == 0 && entry.length <= ring() &&
                          entry.tail % kLogUnit == 0 && entry.tail < ring() && entry.sequence > 0 &&
                          uuid_at(unit, 32) == header_.log &&
                          entry.descriptor_units() <= entry.length / kLogUnit;
    if (!is_sound) return std::nullopt;
    return entry;
  }

  // Nothing: there is none, or not all of it was written.
  Result<std::optional<LogEntry>> read_entry(uint64_t at) {
    constexpr size_t kEntrySumAt = 4;
    constexpr auto kNone = std::optional<LogEntry>();
    LogUnit unit;
    SNAP_TRY(read(at, unit));
    const auto entry = parse_entry(at, unit);
    if (!entry) return kNone;
    const uint32_t wanted = load_le<uint32_t>(unit.data() + kEntrySumAt);
    store_le(unit.data() + kEntrySumAt, uint32_t{0});
    uint64_t data_units = entry->length / kLogUnit - entry->descriptor_units();
    uint32_t sum = 0;
    for (uint64_t i = 0; i < entry->length / kLogUnit; ++i) {
      if (i > 0) SNAP_TRY(read(at + i * kLogUnit, unit));
      if (i < entry->descriptor_units()) {
        const auto data = count_data(*entry, i, unit);
        if (!data || *data > data_units) return kNone;
        data_units -= *data;
      } else if (!is_data_unit(unit, entry->sequence)) {
        return kNone;
      }
      sum = crc32c(unit, sum);
    }
    return sum == wanted && data_units == 0 ? entry : kNone;
  }

  // Visits the descriptors in unit `index` of an entry; false where one makes no sense.
  template <typename Visit>
  static bool for_each_change(const LogEntry& entry, uint64_t index, const LogUnit& unit,
                              const Visit& visit) {
    const uint64_t end = std::min(kSlots, kHeaderSlots + entry.descriptors - index * kSlots);
    for (uint64_t slot = index == 0 ? kHeaderSlots : 0; slot < end; ++slot) {
      bool has_data = false;
      const auto change =
          parse_descriptor(unit.data() + slot * kDescriptorBytes, entry.sequence, has_data);
      if (!change) return false;
      visit(*change, has_data);
    }
    return true;
  }

  static std::optional<uint64_t> count_data(const LogEntry& entry, uint64_t index,
                                            const LogUnit& unit) {
    uint64_t count = 0;
    const bool is_sound = for_each_change(
        entry, index, unit, [&](const LogChange&, bool has_data) { count += has_data ? 1 : 0; });
    return is_sound ? std::optional(count) : std::nullopt;
  }

  void find_newest() {
    std::vector<LogEntry*> newest_first;
    for (auto& [at, entry] : entries_) newest_first.push_back(&entry);
    std::sort(newest_first.begin(), newest_first.end(),
              [](const LogEntry* a, const LogEntry* b) { return a->sequence > b->sequence; });
    for (LogEntry* const entry : newest_first) {
      const LogEntry* const next = entry_behind(*entry);
      entry->newest = next == nullptr ? entry : next->newest;
    }
  }

  // The newest entry of the sequence that counts: one that has all entries from its newest one's
  // tail on; of several, the newest.
  Result<const LogEntry*> active() const {
    const LogEntry* best = nullptr;
    for (const auto& [at, entry] : entries_) {
      const LogEntry* const tail = entry_at(entry.tail);
      if (tail == nullptr || tail->newest != &entry) continue;
      if (best != nullptr && best->sequence == entry.sequence) {
        return Error(ErrorCode::kCorruption, "its log has two sequences of entries that end alike");
      }
      if (best == nullptr || best->sequence < entry.sequence) best = &entry;
    }
    if (best != nullptr) return best;
    return Error(ErrorCode::kCorruption,
                 "its log is not empty, and has no whole sequence of entries: what was written "
                 "last is lost");
  }

  Result<void> collect(const LogEntry& entry, Replay& replay) {
    LogUnit unit;
    uint64_t source = entry.at + entry.descriptor_units() * kLogUnit;
    for (uint64_t i = 0; i < entry.descriptor_units(); ++i) {
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_TRY(read(entry.at + i * kLogUnit, unit));
      const bool is_sound = for_each_change(entry, i, unit, [&](LogChange change, bool has_data) {
        if (has_data) {
          change.source = place_of(source);
          source += kLogUnit;
        }
        replay.size = std::max(replay.size, change.offset + change.length);
        if (change.length > 0) replay.changes.push_back(change);
      });
      if (!is_sound) return Error(ErrorCode::kCorruption, "its log was changed just now");
      if (replay.changes.size() > kMostChanges) {
        return Error(
            ErrorCode::kUnsupported,
            fmt::format("its log has more than {} changes, which are not read", kMostChanges));
      }
    }
    return {};
  }

  File& file_;
  const Header& header_;
  const Cancel& cancel_;
  std::map<uint64_t, LogEntry> entries_;  // by LogEntry::at
};

}  // namespace

Result<Replay> find_replay(File& file, const Header& header, const Cancel& cancel) {
  if (header.log_version != 0) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("version {} of VHDX's log is not read", header.log_version));
  }
  const uint64_t offset = header.log_offset;
  const uint64_t length = header.log_length;
  if (offset < kAlign || offset % kAlign != 0 || length == 0 || length % kAlign != 0 ||
      offset > file.size() || length > file.size() - offset) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("its log, {} bytes at byte {}, is impossible", length, offset));
  }
  if (length > kMostLog) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("a log of {} bytes is not read: it has more than 256 MiB", length));
  }
  return LogReader(file, header, cancel).run();
}

}  // namespace snaptool::vhdx
