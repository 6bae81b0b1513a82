// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "formats/common/early_writeback.h"
#include "formats/common/new_file.h"
#include "formats/common/table_writer.h"
#include "formats/vmdk/new_image.h"
#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"

namespace snaptool::vmdk {
namespace {

// A grain directory and its grain tables, which follow it. There are two that say the same.
struct TableSet {
  uint64_t directory = 0;  // sector
  uint64_t tables = 0;     // sector
};

// Where everything is in the file, in the order of the file: header, descriptor, the two sets of
// tables, grains. Numbers are sectors but for that of the tables.
struct SparsePlan {
  uint64_t count = 0;  // grain tables of a set
  TableSet redundant;
  TableSet primary;
  uint64_t grains = 0;
};

SparsePlan plan_for(uint64_t sectors) {
  constexpr uint64_t kGrain = kNewGrain / kSectorSize;
  SparsePlan plan;
  plan.count = div_round_up(sectors, kNewTableEntries * kGrain);
  const uint64_t directory = std::max<uint64_t>(1, div_round_up(4 * plan.count, kSectorSize));
  uint64_t at = 1 + kNewDescriptorSectors;
  for (TableSet* const set : {&plan.redundant, &plan.primary}) {
    set->directory = at;
    set->tables = at + directory;
    at = set->tables + plan.count * (kNewTableBytes / kSectorSize);
  }
  plan.grains = div_round_up(at, kGrain) * kGrain;
  return plan;
}

std::array<std::byte, 4> word_of(uint32_t value) {
  std::array<std::byte, 4> word{};
  store_le(word.data(), value);
  return word;
}

class SparseWriter : public access::ImageWriter {
 public:
  SparseWriter(File& file, NewDescriptor descriptor, access::Before before)
      : file_(file),
        descriptor_(std::move(descriptor)),
        in_place_(before != access::Before::kZeros),
        plan_(plan_for(descriptor_.sectors)),
        writeback_(file),
        end_(plan_.grains * kSectorSize),
        table_(kNewTableBytes) {}

  uint64_t unit_size() const override { return kNewGrain; }
  uint64_t piece_size() const override { return 16 * kNewGrain; }

  Result<void> place(access::WritePiece& piece) override {
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] != access::UnitKind::kData) continue;
      SNAP_TRY(set_entry(piece.offset / kNewGrain + i));
      SNAP_TRY(grow_new_file(file_, end_ + kNewGrain));
      piece.add_extent(end_, {piece.data.data() + i * kNewGrain, kNewGrain});
      end_ += kNewGrain;
    }
    return {};
  }

  Result<void> write(access::WritePiece& piece) override { return writeback_.write(piece); }

  Result<void> finish() override {
    SNAP_TRY(grow_new_file(file_, end_));
    SNAP_TRY(write_table());
    SNAP_TRY(skip_to(plan_.count));
    SNAP_TRY(write_directory(plan_.redundant));
    SNAP_TRY(write_directory(plan_.primary));
    SNAP_TRY(file_.write_at(kSectorSize, encode_descriptor_sectors(descriptor_)));
    SNAP_TRY(cut_new_file(file_, end_));
    // Without a header, it is no image; with it, all is there.
    if (in_place_) SNAP_TRY(file_.flush());
    return file_.write_at(0, encode_sparse_header(header()));
  }

 private:
  SparseHeader header() const {
    SparseHeader header;
    header.flags = kNewlinesFlag | kRedundantFlag;
    header.capacity = descriptor_.sectors;
    header.descriptor = 1;
    header.descriptor_sectors = kNewDescriptorSectors;
    header.redundant_directory = plan_.redundant.directory;
    header.directory = plan_.primary.directory;
    header.overhead = plan_.grains;
    return header;
  }

  // The grain goes to the end of the file.
  Result<void> set_entry(uint64_t grain) {
    SNAP_ASSIGN(const uint32_t sector, sector_number(end_ / kSectorSize));
    const uint64_t index = grain / kNewTableEntries;
    if (index != index_) {
      SNAP_TRY(write_table());
      index_ = index;
    }
    store_le(table_.data() + 4 * (grain % kNewTableEntries), sector);
    used_ = true;
    return {};
  }

  static uint64_t offset_of(const TableSet& set, uint64_t index) {
    return set.tables * kSectorSize + index * kNewTableBytes;
  }

  // Grains ascend, so nothing more comes into the table.
  Result<void> write_table() {
    if (!used_) return {};
    SNAP_TRY(skip_to(index_));
    SNAP_TRY(file_.write_at(offset_of(plan_.redundant, index_), table_));
    SNAP_TRY(file_.write_at(offset_of(plan_.primary, index_), table_));
    next_ = index_ + 1;
    std::fill(table_.begin(), table_.end(), std::byte{0});
    used_ = false;
    return {};
  }

  // The tables up to that one have no grain.
  Result<void> skip_to(uint64_t index) {
    if (!in_place_ || index == next_) return {};
    for (const TableSet* const set : {&plan_.redundant, &plan_.primary}) {
      const uint64_t from = offset_of(*set, next_);
      SNAP_TRY(file_.zero_at(from, offset_of(*set, index) - from, ZeroMode::kKeep));
    }
    return {};
  }

  Result<void> write_directory(const TableSet& set) {
    // All tables are there, so that what writes to the image finds them, as with QEMU and VMware.
    TableWriter directory(file_, set.directory * kSectorSize, std::vector<std::byte>(4));
    for (uint64_t i = 0; i < plan_.count; ++i) {
      SNAP_ASSIGN(const uint32_t sector, sector_number(offset_of(set, i) / kSectorSize));
      SNAP_TRY(directory.set(i, word_of(sector)));
    }
    return directory.finish((set.tables - set.directory) * kSectorSize / 4);
  }

  File& file_;
  NewDescriptor descriptor_;
  bool in_place_;
  SparsePlan plan_;
  EarlyWriteback writeback_;
  uint64_t end_;                  // of the file so far, bytes
  std::vector<std::byte> table_;  // the grain table that is being filled
  uint64_t index_ = 0;            // of that table
  bool used_ = false;             // it has a grain
  uint64_t next_ = 0;             // the table behind the last one that was written
};

}  // namespace

std::unique_ptr<access::ImageWriter> make_sparse_writer(File& file, const NewDescriptor& descriptor,
                                                        access::Before before) {
  return std::make_unique<SparseWriter>(file, descriptor, before);
}

}  // namespace snaptool::vmdk
