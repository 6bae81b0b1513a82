// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cached_disk.h"

#include <algorithm>
#include <optional>

namespace snaptool::test {
namespace {

constexpr uint64_t kSector = 512;

}  // namespace

class CachedDisk::Cached : public File {
 public:
  Cached(CachedDisk& disk, std::string name, const Bytes& content)
      : disk_(disk), name_(std::move(name)), cache_(content), medium_(content) {}

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return cache_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    SNAP_TRY(check_alive());
    if (offset > cache_.size() || out.size() > cache_.size() - offset) {
      return Error(ErrorCode::kCorruption, "past the end of " + name_);
    }
    std::copy_n(cache_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override {
    SNAP_TRY(check_writable());
    std::copy(data.begin(), data.end(), cache_.begin() + static_cast<ptrdiff_t>(offset));
    for (uint64_t at = offset / kSector; at * kSector < offset + data.size(); ++at) {
      dirty_.insert(at);
    }
    return {};
  }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode /*mode*/) override {
    return write_at(offset, Bytes(length));
  }
  Result<void> resize(uint64_t size) override {
    SNAP_TRY(check_writable());
    least_size_ = std::min(least_size_.value_or(cache_.size()), size);
    cache_.resize(size);
    dirty_.erase(dirty_.lower_bound((size + kSector - 1) / kSector), dirty_.end());
    return {};
  }
  Result<void> flush() override {
    SNAP_TRY(check_alive());
    if (disk_.skips_clean_flushes && !written_) return {};
    return disk_.flush(*this);
  }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_TRY(check_alive());
    return Extent{std::min(limit, cache_.size() - offset), false, 0, this, offset};
  }
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out) override {
    SNAP_TRY(read_at(offset, out));
    if (disk_.reads_the_cache) return {};
    const Bytes cached(out.begin(), out.end());
    const uint64_t there = offset < medium_.size() ? medium_.size() - offset : 0;
    std::copy_n(
        medium_.begin() + static_cast<ptrdiff_t>(std::min<uint64_t>(offset, medium_.size())),
        std::min<uint64_t>(out.size(), there), out.begin());
    for_dirty(offset, out.size(), [&](uint64_t from, uint64_t size) {
      std::copy_n(cached.begin() + static_cast<ptrdiff_t>(from - offset), size,
                  out.begin() + static_cast<ptrdiff_t>(from - offset));
    });
    return {};
  }
  bool forget_cache(uint64_t offset, uint64_t length) override {
    if (disk_.reads_the_cache) return true;
    const uint64_t end = std::min(offset + length, std::min(cache_.size(), medium_.size()));
    if (offset >= end) return true;
    const Bytes cached(cache_.begin() + static_cast<ptrdiff_t>(offset),
                       cache_.begin() + static_cast<ptrdiff_t>(end));
    std::copy(medium_.begin() + static_cast<ptrdiff_t>(offset),
              medium_.begin() + static_cast<ptrdiff_t>(end),
              cache_.begin() + static_cast<ptrdiff_t>(offset));
    for_dirty(offset, end - offset, [&](uint64_t from, uint64_t size) {
      std::copy_n(cached.begin() + static_cast<ptrdiff_t>(from - offset), size,
                  cache_.begin() + static_cast<ptrdiff_t>(from));
    });
    return true;
  }

  void begin_process() {
    failed_.reset();
    written_ = false;
  }
  const Bytes& medium() const { return medium_; }
  // Brings what waits to the medium: of the sectors those that `arrives` lets through.
  template <typename Arrives>
  Bytes after(const Arrives& arrives) const {
    Bytes bytes = medium_;
    if (least_size_) bytes.resize(std::min<uint64_t>(bytes.size(), *least_size_));
    bytes.resize(cache_.size());
    for (const uint64_t sector : dirty_) {
      if (!arrives(sector)) continue;
      const uint64_t from = sector * kSector;
      const uint64_t size = std::min(kSector, cache_.size() - from);
      std::copy_n(cache_.begin() + static_cast<ptrdiff_t>(from), size,
                  bytes.begin() + static_cast<ptrdiff_t>(from));
    }
    return bytes;
  }
  void settle(Bytes medium) {
    medium_ = std::move(medium);
    dirty_.clear();
    least_size_.reset();
  }
  void start_over(const Bytes& content) {
    cache_ = content;
    settle(content);
  }
  bool size_waits() const { return least_size_.has_value(); }
  Result<void> fail(const Error& error) {
    failed_ = error;
    return error;
  }
  const std::optional<Error>& failed() const { return failed_; }

 private:
  // Calls `visit` for what of the range waits for a flush.
  template <typename Visit>
  void for_dirty(uint64_t offset, uint64_t length, const Visit& visit) const {
    const uint64_t end = offset + length;
    for (auto it = dirty_.lower_bound(offset / kSector); it != dirty_.end() && *it * kSector < end;
         ++it) {
      const uint64_t from = std::max(offset, *it * kSector);
      visit(from, std::min(end, (*it + 1) * kSector) - from);
    }
  }
  Result<void> check_alive() const {
    if (disk_.killed_) return Error(ErrorCode::kIo, "the process was killed");
    return {};
  }
  Result<void> check_writable() {
    SNAP_TRY(check_alive());
    if (failed_) return *failed_;
    written_ = true;
    return {};
  }

  CachedDisk& disk_;
  std::string name_;
  Bytes cache_;
  Bytes medium_;
  std::set<uint64_t> dirty_;            // sectors that wait for a flush
  std::optional<uint64_t> least_size_;  // since the last flush, if the size was changed
  std::optional<Error> failed_;
  bool written_ = false;  // by this process
};

CachedDisk::CachedDisk(uint64_t seed) : random_(seed) {}
CachedDisk::~CachedDisk() = default;

File& CachedDisk::add(const std::string& name, const Bytes& content) {
  files_.push_back(std::make_unique<Cached>(*this, name, content));
  return *files_.back();
}

void CachedDisk::begin_process(Trouble trouble, size_t flush) {
  trouble_ = trouble;
  when_ = flush;
  flushes_ = 0;
  had_trouble_ = killed_ = false;
  for (const auto& file : files_) file->begin_process();
}

Result<void> CachedDisk::flush(Cached& file) {
  if (file.failed()) return *file.failed();
  if (watcher) watcher();
  const bool trouble = flushes_++ == when_ && trouble_ != Trouble::kNone;
  had_trouble_ = had_trouble_ || trouble;
  if (trouble && trouble_ == Trouble::kPowerCut) {
    const std::vector<Bytes> left = cut();
    for (size_t i = 0; i < left.size(); ++i) files_[i]->start_over(left[i]);
    killed_ = true;
    return Error(ErrorCode::kIo, "the power was cut");
  }
  if (trouble && trouble_ == Trouble::kKill) {
    killed_ = true;
    return Error(ErrorCode::kIo, "the process was killed");
  }
  // All, none, or some: a single block that is bad is the usual case.
  const uint64_t bad = trouble ? 1 + random_() % 4 : 0;
  file.settle(file.after([&](uint64_t) { return bad == 0 || (bad > 1 && random_() % bad != 0); }));
  if (trouble) return file.fail(Error(ErrorCode::kIo, "the flush failed"));
  if (watcher) watcher();
  return {};
}

std::vector<Bytes> CachedDisk::media() const {
  std::vector<Bytes> media;
  for (const auto& file : files_) media.push_back(file->medium());
  return media;
}

std::vector<Bytes> CachedDisk::cut() {
  std::vector<Bytes> left;
  for (const auto& file : files_) {
    const uint64_t odds = random_() % 4;
    // What was not written since it was cut has its old size, or the new one.
    if (file->size_waits() && odds == 0) {
      left.push_back(file->medium());
    } else {
      left.push_back(
          file->after([&](uint64_t) { return odds == 3 || (odds > 0 && random_() % 2 == 0); }));
    }
  }
  return left;
}

}  // namespace snaptool::test
