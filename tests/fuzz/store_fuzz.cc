// SPDX-License-Identifier: Apache-2.0
// Any bytes as a COW: nothing crashes, nothing is read or written out of bounds; a store that
// verify lets pass merges, and the origin is then what the view was; what repair makes of it is
// sound; a dump that can be restored has the same list.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/repair/repair.h"
#include "libsnap/snap/store/dump.h"
#include "libsnap/snap/store/restore.h"
#include "libsnap/snap/view/snapshot_image.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

Result<Bytes> view_of(File& origin, File& cow) {
  const Cancel cancel;
  RawImage base(origin, origin.size());
  SNAP_ASSIGN(const auto view,
              SnapshotImage::open(base, cow, SnapshotImage::Damage::kShow, cancel));
  Bytes bytes(view->size());
  SNAP_TRY(view->read_at(0, bytes));
  for (uint64_t at = 0; at < view->size();) {
    SNAP_ASSIGN(const Extent extent, view->extent_at(at, view->size() - at));
    require(extent.length > 0 && extent.length <= view->size() - at);
    at += extent.length;
  }
  return bytes;
}

void try_repair(const Bytes& bytes, uint64_t origin_size) {
  MemoryFile cow("cow", bytes);
  const Cancel cancel;
  Progress progress;
  const Job job{progress, cancel, 1};
  for (const bool other : {false, true}) {
    SalvageOptions options;
    options.beyond_end = other;
    options.origin_size = origin_size;
    const RepairOptions repair{other, !other};
    auto salvage = Salvage::open(cow, options);
    if (!salvage) return;
    const auto plan = plan_repair(*salvage, repair, cancel);
    require(plan.has_value());
    MemoryFile target("new", Bytes(std::max<uint64_t>(bytes.size(), plan->size)));
    const auto done = repair_store(*salvage, repair, *plan, target, job);
    require(done.has_value() && done->kept == plan->kept);
    const auto verified = verify_store(target, origin_size, cancel);
    require(verified.has_value() && verified->result() == Severity::kNote);
    require(verified->exceptions == done->kept);
  }
  require(content_of(cow) == bytes);
}

// Only a list with entries that no store can have is not restored.
void try_restore(const std::string& dump, const Bytes& bytes, const VerifyReport& report) {
  MemoryFile target("new", Bytes(bytes.size()));
  const Cancel cancel;
  TextSource source = [&dump, at = size_t{0}](std::span<std::byte> out) mutable {
    const size_t size = std::min(out.size(), dump.size() - at);
    std::memcpy(out.data(), dump.data() + at, size);
    at += size;
    return Result<size_t>(size);
  };
  const auto restored = restore_store(
      source, "dump",
      [&](const DumpHeader& header) -> Result<RestoreTarget> {
        require(header.cow_size == bytes.size());
        return RestoreTarget{&target, true};
      },
      cancel);
  const bool possible = report.count(DefectCode::kNewBeyondCow) +
                            report.count(DefectCode::kNewIsMetadata) +
                            report.count(DefectCode::kNewHighByte) ==
                        0;
  require(!possible || restored.has_value());
  if (!restored) return;
  auto store = PersistentStore::open(target);
  require(store.has_value());
  for (const DumpFormat format : {DumpFormat::kXml, DumpFormat::kJson}) {
    std::string text;
    require(dump_store(
                *store, format,
                [&](std::string_view piece) -> Result<void> {
                  text += piece;
                  return {};
                },
                cancel)
                .has_value());
    if (text == dump) return;
  }
  require(false);
}

void try_store(const Bytes& bytes, uint64_t origin_size) {
  MemoryFile cow("cow", bytes);
  Bytes content(origin_size);
  for (uint64_t i = 0; i < origin_size; ++i) content[i] = static_cast<std::byte>(i / 512 * 7 + 1);
  MemoryFile origin("origin", content);
  const Cancel cancel;

  const auto view = view_of(origin, cow);
  const auto report = verify_store(cow, origin_size, cancel);
  require(report.has_value());  // in memory nothing fails: everything is a finding
  if (auto store = PersistentStore::open(cow); store && store->state() != StoreState::kNone) {
    for (const DumpFormat format : {DumpFormat::kXml, DumpFormat::kJson}) {
      std::string text;
      const auto dumped = dump_store(
          *store, format,
          [&](std::string_view piece) -> Result<void> {
            text += piece;
            return {};
          },
          cancel);
      require(dumped.has_value() == !store->missing_area().has_value());
      if (dumped) try_restore(text, bytes, *report);
    }
  }
  try_repair(bytes, origin_size);
  Progress progress;
  MergeOptions options;
  options.accept_duplicates = true;
  options.discard_tail = true;
  options.batch_bytes = 2048;
  const Job job{progress, cancel, 1};
  auto merge = Merge::begin(origin, cow, options, job);
  require(merge.has_value() == (report->reason_not_to_merge(true) == nullptr));
  if (!merge) {
    require(content_of(origin) == content && content_of(cow) == bytes);
    return;
  }
  require((*merge)->run(job).has_value());
  require(view.has_value());
  Bytes end = content_of(origin);
  require(std::equal(end.begin() + static_cast<ptrdiff_t>(view->size()), end.end(),
                     content.begin() + static_cast<ptrdiff_t>(view->size())));
  end.resize(view->size());
  require(end == *view);
  const auto after = verify_store(cow, origin_size, cancel);
  require(after.has_value() && after->exceptions == 0);
  require(after->count(DefectCode::kLiveBehindTerminator) == 0);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(store)(const uint8_t* data, size_t size) {
  // The first byte chooses the origin's size, the rest is the COW.
  if (size < 1 || size > 256 * 1024) return 0;
  const uint64_t origin_size = uint64_t{data[0]} * 300;
  const auto* bytes = reinterpret_cast<const std::byte*>(data) + 1;
  snaptool::test::Bytes cow(bytes, bytes + (size - 1));
  snaptool::test::try_store(cow, origin_size);
  return 0;
}
