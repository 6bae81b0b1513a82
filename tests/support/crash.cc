// SPDX-License-Identifier: Apache-2.0
#include "tests/support/crash.h"

#include <algorithm>
#include <compare>
#include <map>
#include <utility>

#include "libsnap/base/check.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kSector = 512;

// What may or may not have arrived since a file's last flush: the contents of one sector, or the
// sizes that the file was given.
struct Pending {
  std::vector<Bytes> versions;  // of a sector, oldest first
  std::vector<uint64_t> sizes;  // of the file, oldest first
  bool border = false;          // a size, or the first or last sector of a write
  size_t arrived = 0;           // how many there were before these

  size_t count() const { return sizes.empty() ? versions.size() : sizes.size(); }
  // The first `number` of all that there ever were have arrived.
  void drop(size_t number) {
    const auto gone = static_cast<ptrdiff_t>(std::min(number - std::min(number, arrived), count()));
    arrived += static_cast<size_t>(gone);
    if (sizes.empty()) {
      versions.erase(versions.begin(), versions.begin() + gone);
    } else {
      sizes.erase(sizes.begin(), sizes.begin() + gone);
    }
  }
};

// Sorts a file's sizes before its sectors.
struct Unit {
  size_t file = 0;
  bool is_sector = false;
  uint64_t sector = 0;
  auto operator<=>(const Unit&) const = default;
};

// What a flush found when it began.
struct BegunFlush {
  size_t file = 0;
  Bytes content;
  std::map<Unit, size_t> numbers;  // of versions that there ever were, up to then
};

BegunFlush begun_flush(size_t file, const Bytes& content, const std::map<Unit, Pending>& pending) {
  BegunFlush begun{file, content, {}};
  for (const auto& [unit, changes] : pending) {
    if (unit.file == file) begun.numbers[unit] = changes.arrived + changes.count();
  }
  return begun;
}

// The first flush of the file that is under way has ended.
void finish_flush(size_t file, std::vector<BegunFlush>& begun, std::map<Unit, Pending>& pending,
                  Bytes& durable) {
  const auto of_file = [&](const BegunFlush& flush) { return flush.file == file; };
  const auto first = std::find_if(begun.begin(), begun.end(), of_file);
  SNAP_CHECK(first != begun.end());
  for (const auto& [unit, number] : first->numbers) {
    const auto changed = pending.find(unit);
    if (changed != pending.end()) changed->second.drop(number);
  }
  durable = std::move(first->content);
  begun.erase(first);
  if (std::any_of(begun.begin(), begun.end(), of_file)) return;  // which counts on the numbers
  std::erase_if(pending, [&](const auto& entry) {
    return entry.first.file == file && entry.second.count() == 0;
  });
}

}  // namespace

size_t WriteLog::add_file(const Bytes& content) {
  initial_.push_back(content);
  return initial_.size() - 1;
}

void WriteLog::write(size_t file, uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  events_.push_back({file, Event::Kind::kWrite, offset, Bytes(data.begin(), data.end())});
}

void WriteLog::resize(size_t file, uint64_t size) {
  const std::lock_guard lock(mutex_);
  events_.push_back({file, Event::Kind::kResize, size, {}});
}

void WriteLog::flush(size_t file) {
  const std::lock_guard lock(mutex_);
  events_.push_back({file, Event::Kind::kFlush, 0, {}});
}

void WriteLog::begin_flush(size_t file) {
  const std::lock_guard lock(mutex_);
  events_.push_back({file, Event::Kind::kBeginFlush, 0, {}});
}

void WriteLog::end_flush(size_t file) {
  const std::lock_guard lock(mutex_);
  events_.push_back({file, Event::Kind::kEndFlush, 0, {}});
}

void WriteLog::visit_crash_states(size_t exhaustive, size_t sampled, std::mt19937_64& random,
                                  const Visitor& visitor) const {
  visit(0, exhaustive, sampled, random, visitor);
}

void WriteLog::visit_final_states(size_t exhaustive, size_t sampled, std::mt19937_64& random,
                                  const Visitor& visitor) const {
  visit(events_.size(), exhaustive, sampled, random, visitor);
}

void WriteLog::visit(size_t first_cut, size_t exhaustive, size_t sampled, std::mt19937_64& random,
                     const Visitor& visitor) const {
  std::vector<Bytes> durable = initial_;
  std::vector<Bytes> current = initial_;  // as the program sees them
  std::map<Unit, Pending> pending;
  std::vector<BegunFlush> begun;

  // One state: choice[i] versions of pending unit i have arrived (0: none, it is as it was).
  const auto show = [&](const std::vector<size_t>& choice, size_t cut, const std::string& which) {
    std::vector<Bytes> files = durable;
    size_t i = 0;
    for (const auto& [unit, changes] : pending) {
      const size_t arrived = choice[i++];
      Bytes& file = files[unit.file];
      if (!unit.is_sector) {
        for (size_t n = 0; n < arrived; ++n) file.resize(changes.sizes[n]);
        continue;
      }
      const uint64_t start = unit.sector * kSector;
      if (arrived == 0 || start >= file.size()) continue;
      const Bytes& content = changes.versions[arrived - 1];
      std::copy_n(content.begin(), std::min<uint64_t>(content.size(), file.size() - start),
                  file.begin() + static_cast<ptrdiff_t>(start));
    }
    visitor(files, cut, which);
  };

  const auto show_cut = [&](size_t cut) {
    std::vector<size_t> none(pending.size(), 0);
    std::vector<size_t> all;
    std::vector<size_t> borders;
    size_t states = 1;
    for (const auto& [unit, changes] : pending) {
      if (changes.border) borders.push_back(all.size());
      all.push_back(changes.count());
      states = std::min(states * (changes.count() + 1), exhaustive + 1);
    }
    if (states <= exhaustive) {
      std::vector<size_t> choice = none;
      for (size_t n = 0; n < states; ++n) {
        show(choice, cut, "state " + std::to_string(n));
        for (size_t i = 0; i < choice.size() && ++choice[i] > all[i]; ++i) choice[i] = 0;
      }
      return;
    }
    show(none, cut, "nothing arrived");
    show(all, cut, "everything arrived");
    std::shuffle(borders.begin(), borders.end(), random);
    if (borders.size() > sampled) borders.resize(sampled);
    for (const size_t border : borders) {
      std::vector<size_t> one = none;
      one[border] = all[border];
      show(one, cut, "only pending unit " + std::to_string(border));
      std::vector<size_t> but_one = all;
      but_one[border] = 0;
      show(but_one, cut, "all but pending unit " + std::to_string(border));
    }
    for (size_t n = 0; n < sampled; ++n) {
      std::vector<size_t> choice;
      for (const size_t versions : all) choice.push_back(random() % (versions + 1));
      show(choice, cut, "sample " + std::to_string(n));
    }
  };

  for (size_t cut = 0; cut <= events_.size(); ++cut) {
    if (cut >= first_cut) show_cut(cut);
    if (cut == events_.size()) break;
    const Event& event = events_[cut];
    Bytes& now = current[event.file];
    switch (event.kind) {
      case Event::Kind::kFlush:
        durable[event.file] = now;
        std::erase_if(pending, [&](const auto& entry) { return entry.first.file == event.file; });
        break;
      case Event::Kind::kBeginFlush:
        begun.push_back(begun_flush(event.file, now, pending));
        break;
      case Event::Kind::kEndFlush:
        finish_flush(event.file, begun, pending, durable[event.file]);
        break;
      case Event::Kind::kResize: {
        Pending& size = pending[{event.file, false, 0}];
        size.sizes.push_back(event.offset);
        size.border = true;
        now.resize(event.offset);
        std::erase_if(pending, [&](const auto& entry) {
          const Unit& unit = entry.first;
          return unit.file == event.file && unit.is_sector && unit.sector * kSector >= now.size();
        });
        break;
      }
      case Event::Kind::kWrite: {
        if (event.data.empty()) break;
        SNAP_CHECK(event.offset + event.data.size() <= now.size());
        std::copy(event.data.begin(), event.data.end(),
                  now.begin() + static_cast<ptrdiff_t>(event.offset));
        const uint64_t first = event.offset / kSector;
        const uint64_t last = (event.offset + event.data.size() - 1) / kSector;
        for (uint64_t sector = first; sector <= last; ++sector) {
          Pending& unit = pending[{event.file, true, sector}];
          // The file's last sector may be a part one; all else is whole sectors.
          const uint64_t end = std::min<uint64_t>(now.size(), (sector + 1) * kSector);
          unit.versions.emplace_back(now.begin() + static_cast<ptrdiff_t>(sector * kSector),
                                     now.begin() + static_cast<ptrdiff_t>(end));
          unit.border |= sector == first || sector == last;
        }
        break;
      }
    }
  }
}

LoggedFile::LoggedFile(File& inner, WriteLog& log, FlushFault fault)
    : inner_(inner), log_(log), number_(log.add_file(content_of(inner))), fault_(fault) {}

Result<void> LoggedFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  log_.write(number_, offset, data);
  return inner_.write_at(offset, data);
}

bool LoggedFile::share_from(uint64_t offset, File& source, uint64_t source_offset,
                            uint64_t length) {
  Bytes bytes(length);
  if (!source.read_at(source_offset, bytes) || !write_at(offset, bytes)) return false;
  shared_bytes_ += length;
  return true;
}

Result<void> LoggedFile::zero_at(uint64_t offset, uint64_t length, ZeroMode mode) {
  log_.write(number_, offset, Bytes(length));
  return inner_.zero_at(offset, length, mode);
}

Result<void> LoggedFile::resize(uint64_t size) {
  log_.resize(number_, size);
  return inner_.resize(size);
}

Result<void> LoggedFile::flush() {
  if (fault_ == FlushFault::kSwallowed) return {};
  log_.flush(number_);
  return inner_.flush();
}

std::future<Result<void>> LoggedFile::begin_flush() {
  if (fault_ != FlushFault::kSwallowed) log_.begin_flush(number_);
  return std::async(std::launch::deferred, [this]() -> Result<void> {
    if (fault_ == FlushFault::kSwallowed) return {};
    const bool is_first = std::exchange(none_ended_, false);
    if (fault_ == FlushFault::kTooEarly && is_first) return {};
    log_.end_flush(number_);
    return inner_.flush();
  });
}

}  // namespace snaptool::test
