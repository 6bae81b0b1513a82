// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/verify_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/parallel.h"
#include "libsnap/snap/store/entry_rules.h"

namespace snaptool {
namespace {

constexpr size_t kBatchEntries = 65536;

class DataReader {
 public:
  DataReader(PersistentStore& store, VerifyReport& report, const Job& job)
      : store_(store),
        chunk_bytes_(store.layout().chunk_bytes()),
        rules_(store.layout(), store.cow_chunks(), std::nullopt),
        report_(report),
        job_(job) {}

  Result<void> run() {
    const auto visit = [this](uint64_t area, uint64_t first,
                              std::span<const Exception> entries) -> Result<void> {
      for (size_t i = 0; i < entries.size(); ++i) {
        if (rules_.new_defect(area, first + i, entries[i])) continue;
        batch_.push_back({area, first + i, entries[i]});
        if (batch_.size() >= kBatchEntries) SNAP_TRY(read_batch());
      }
      return {};
    };
    if (auto done = store_.read_metadata(visit, job_.cancel); !done && !store_.missing_area()) {
      return done;
    }
    return read_batch();
  }

 private:
  struct Item {
    uint64_t area = 0;
    uint64_t index = 0;
    Exception entry;
  };
  // Items whose data lie side by side, at most a piece of them; or one, of any size.
  struct Piece {
    size_t begin = 0;
    size_t end = 0;
  };

  Result<void> read_batch() {
    std::sort(batch_.begin(), batch_.end(),
              [](const Item& a, const Item& b) { return a.entry.new_chunk < b.entry.new_chunk; });
    std::vector<Piece> pieces;
    for (size_t i = 0; i < batch_.size(); ++i) {
      const bool goes_on = !pieces.empty() &&
                           batch_[i].entry.new_chunk == batch_[i - 1].entry.new_chunk + 1 &&
                           (i + 1 - pieces.back().begin) * chunk_bytes_ <= kIoPiece;
      if (goes_on) {
        pieces.back().end = i + 1;
      } else {
        pieces.push_back({i, i + 1});
      }
    }
    SNAP_TRY(parallel_for(pieces.size(), job_, [&](size_t i) { return read_piece(pieces[i]); }));
    // In their order, whichever thread was first.
    std::sort(found_.begin(), found_.end(),
              [](const Finding& a, const Finding& b) { return a.offset < b.offset; });
    for (Finding& finding : found_) report_.add(std::move(finding));
    found_.clear();
    batch_.clear();
    return {};
  }

  Result<void> read_piece(const Piece& piece) {
    const uint64_t offset = batch_[piece.begin].entry.new_chunk * chunk_bytes_;
    const uint64_t length = (piece.end - piece.begin) * chunk_bytes_;
    if (!read(offset, length)) {
      for (size_t i = piece.begin; i < piece.end; ++i) {
        const auto done = read(batch_[i].entry.new_chunk * chunk_bytes_, chunk_bytes_);
        if (!done) add(batch_[i], done.error());
      }
    }
    job_.progress.add(length);
    return {};
  }

  Result<void> read(uint64_t offset, uint64_t length) {
    BufferPool::Lease lease(buffers_);
    while (length > 0) {
      SNAP_ASSIGN(const Extent extent, store_.cow().extent_at(offset, length));
      const uint64_t size = extent.zero ? extent.length : std::min(extent.length, kIoPiece);
      if (!extent.zero) SNAP_TRY(store_.cow().read_at(offset, lease.bytes().first(size)));
      offset += size;
      length -= size;
    }
    return {};
  }

  void add(const Item& item, const Error& why) {
    Finding finding = rules_.at(DefectCode::kDataUnreadable, item.area, item.index, item.entry,
                                fmt::format("its data cannot be read: {}", why.describe()));
    finding.offset = item.entry.new_chunk * chunk_bytes_;
    const std::lock_guard lock(mutex_);
    found_.push_back(std::move(finding));
  }

  PersistentStore& store_;
  uint64_t chunk_bytes_;
  EntryRules rules_;
  VerifyReport& report_;
  const Job& job_;
  BufferPool buffers_;
  std::vector<Item> batch_;
  std::mutex mutex_;
  std::vector<Finding> found_;  // guarded by mutex_ while threads run
};

}  // namespace

Result<void> verify_data(File& cow, VerifyReport& report, const Job& job) {
  SNAP_ASSIGN(auto examined, PersistentStore::examine(cow));
  if (!examined.store || examined.store->state() == StoreState::kNone) return {};
  return DataReader(*examined.store, report, job).run();
}

}  // namespace snaptool
