// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/repair/repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "libsnap/base/check.h"
#include "libsnap/copy/copier.h"
#include "libsnap/snap/store/list_writer.h"

namespace snaptool {
namespace {

constexpr uint64_t kBatchEntries = 65536;
constexpr uint64_t kBatchBytes = 256 * kMiB;

// Where the entries of the new list go, and their data.
class Numbering {
 public:
  Numbering(const Layout& layout, bool compact, uint64_t first_free)
      : layout_(layout), compact_(compact), next_free_(first_free) {}

  // The data chunk of the next entry.
  uint64_t next(const SalvagedEntry& entry) {
    const uint64_t per_area = layout_.exceptions_per_area();
    const uint64_t number = count_++;
    if (!compact_ && !entry.data_shared) return note(entry.exception.new_chunk);
    if (!compact_) {
      while (layout_.is_metadata(next_free_)) ++next_free_;
      return note(next_free_++);
    }
    return note(kNumSnapshotHdrChunks + number / per_area * (per_area + 1) + 1 + number % per_area);
  }
  uint64_t count() const { return count_; }
  uint64_t end() const { return end_; }  // of the data chunks
  // The least size, in bytes.
  uint64_t size() const {
    const uint64_t last_area = kNumSnapshotHdrChunks + count_ / layout_.exceptions_per_area() *
                                                           (layout_.exceptions_per_area() + 1);
    return std::max(end_, last_area + 1) * layout_.chunk_bytes();
  }

 private:
  uint64_t note(uint64_t chunk) {
    end_ = std::max(end_, chunk + 1);
    return chunk;
  }

  Layout layout_;
  bool compact_;
  uint64_t count_ = 0;
  uint64_t next_free_;
  uint64_t end_ = 0;
};

// Where chunks for data that were shared begin: behind all that there are.
Numbering numbering_of(const Salvage& salvage, const RepairOptions& options) {
  const Layout& layout = salvage.layout();
  return {layout, options.compact, salvage.cow().size() / layout.chunk_bytes()};
}

class Repair {
 public:
  Repair(Salvage& salvage, const RepairOptions& options, File& target, const Job& job)
      : salvage_(salvage),
        layout_(salvage.layout()),
        job_(job),
        copier_(salvage.cow(), target, layout_.chunk_bytes(), ZeroMode::kPunch),
        writer_(target, layout_, options.target_zeroed),
        numbering_(numbering_of(salvage, options)),
        batch_limit_(std::clamp<uint64_t>(kBatchBytes / layout_.chunk_bytes(), 1, kBatchEntries)) {}

  Result<RepairReport> run() {
    SNAP_TRY(writer_.begin());
    SNAP_TRY(salvage_.visit([this](const SalvagedEntry& entry) { return keep(entry); },
                            [this](Finding finding) { report_.dropped.add(std::move(finding)); },
                            job_.cancel));
    SNAP_TRY(write_batch());
    SNAP_TRY(writer_.finish(
        {kSnapMagic, 1, kSnapshotDiskVersion, static_cast<uint32_t>(layout_.chunk_sectors())}));
    report_.kept = writer_.entries();
    report_.size = numbering_.size();
    return std::move(report_);
  }

 private:
  struct Item {
    SalvagedEntry entry;
    uint64_t new_chunk = 0;
  };

  Result<void> keep(const SalvagedEntry& entry) {
    if (batch_.empty()) before_batch_ = numbering_;
    batch_.push_back({entry, numbering_.next(entry)});
    return batch_.size() < batch_limit_ ? Result<void>() : write_batch();
  }

  CopyOp copy_of(const Item& item) const {
    const uint64_t bytes = layout_.chunk_bytes();
    return {item.entry.exception.new_chunk * bytes, item.new_chunk * bytes, bytes};
  }

  Result<void> write_batch() {
    std::vector<CopyOp> ops;
    ops.reserve(batch_.size());
    for (const Item& item : batch_) ops.push_back(copy_of(item));
    std::sort(ops.begin(), ops.end(),
              [](const CopyOp& a, const CopyOp& b) { return a.target < b.target; });
    if (const auto copied = copier_.copy(ops, job_); !copied) {
      if (copied.error().code() != ErrorCode::kIo) return copied.error();
      SNAP_TRY(copy_one_by_one());
    }
    SNAP_TRY(write_entries());
    batch_.clear();
    return {};
  }

  // Finds out which of the batch cannot be read, and drops these.
  Result<void> copy_one_by_one() {
    std::vector<Item> kept;
    numbering_ = *before_batch_;
    std::vector<std::byte> piece(std::min(layout_.chunk_bytes(), kIoPiece));
    for (const Item& item : batch_) {
      if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      const CopyOp from = copy_of(item);
      Result<void> readable;
      for (uint64_t at = 0; readable && at < from.length; at += piece.size()) {
        readable = salvage_.cow().read_at(from.source + at, piece);
      }
      if (!readable) {
        drop_unreadable(item.entry, readable.error());
        continue;
      }
      kept.push_back({item.entry, numbering_.next(item.entry)});
      const CopyOp op = copy_of(kept.back());
      SNAP_TRY(copier_.copy({&op, 1}, job_));
    }
    batch_ = std::move(kept);
    return {};
  }

  void drop_unreadable(const SalvagedEntry& entry, const Error& why) {
    Finding finding;
    finding.code = DefectCode::kDataUnreadable;
    finding.area = entry.area;
    finding.index = entry.index;
    finding.old_chunk = entry.exception.old_chunk;
    finding.new_chunk = entry.exception.new_chunk;
    finding.offset = entry.exception.new_chunk * layout_.chunk_bytes();
    finding.message = fmt::format("its data cannot be read: {}", why.describe());
    report_.dropped.add(std::move(finding));
  }

  Result<void> write_entries() {
    entries_.clear();
    for (const Item& item : batch_) {
      entries_.push_back({item.entry.exception.old_chunk, item.new_chunk});
      if (item.entry.data_shared) ++report_.separated;
    }
    return writer_.append(entries_);
  }

  Salvage& salvage_;
  const Layout& layout_;
  const Job& job_;
  Copier copier_;
  ListWriter writer_;
  Numbering numbering_;
  std::optional<Numbering> before_batch_;
  uint64_t batch_limit_;
  std::vector<Item> batch_;
  std::vector<Exception> entries_;
  RepairReport report_;
};

}  // namespace

Result<RepairReport> plan_repair(Salvage& salvage, const RepairOptions& options,
                                 const Cancel& cancel) {
  RepairReport report;
  Numbering numbering = numbering_of(salvage, options);
  SNAP_TRY(salvage.visit(
      [&](const SalvagedEntry& entry) -> Result<void> {
        numbering.next(entry);
        if (entry.data_shared) ++report.separated;
        return {};
      },
      [&](Finding finding) { report.dropped.add(std::move(finding)); }, cancel));
  report.kept = numbering.count();
  report.size = numbering.size();
  if (!salvage.layout().chunk_offset(report.size / salvage.layout().chunk_bytes())) {
    return Error(ErrorCode::kUnsupported, "the repaired store would be larger than any file");
  }
  return report;
}

Result<RepairReport> repair_store(Salvage& salvage, const RepairOptions& options,
                                  const RepairReport& plan, File& target, const Job& job) {
  SNAP_CHECK(target.size() >= plan.size);
  return Repair(salvage, options, target, job).run();
}

}  // namespace snaptool
