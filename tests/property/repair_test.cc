// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/repair/repair.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "libsnap/base/endian.h"
#include "libsnap/snap/store/create.h"
#include "libsnap/snap/store/verify_data.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

Cancel g_no_cancel;

uint64_t below(std::mt19937_64& random, uint64_t limit) {
  return limit == 0 ? 0 : random() % limit;
}

struct Repaired {
  Bytes cow;
  RepairReport report;
  uint64_t taken_beyond = 0;
  uint64_t left_beyond = 0;
  uint64_t chunk_bytes = 0;
};

Result<Repaired> repair(File& cow, const SalvageOptions& options = {},
                        RepairOptions repair_options = {}) {
  SNAP_ASSIGN(Salvage salvage, Salvage::open(cow, options));
  SNAP_ASSIGN(const RepairReport plan, plan_repair(salvage, repair_options, g_no_cancel));
  const uint64_t size = std::max(plan.size, cow.size());
  MemoryFile target("new", repair_options.target_zeroed ? Bytes(size) : Bytes(size, std::byte{7}));
  Progress progress;
  const Job job{progress, g_no_cancel, 2};
  SNAP_ASSIGN(RepairReport report, repair_store(salvage, repair_options, plan, target, job));
  EXPECT_GE(plan.kept, report.kept);
  Repaired repaired{content_of(target), std::move(report), salvage.taken_beyond(),
                    salvage.left_beyond_end(), salvage.layout().chunk_bytes()};
  // Whatever it was made of, nothing is wrong with it.
  const auto verified = verify_store(target, options.origin_size, g_no_cancel);
  EXPECT_TRUE(verified) << verified.error().describe();
  if (verified) {
    EXPECT_EQ(verified->result(), Severity::kNote)
        << (verified->findings.empty() ? "" : verified->findings.front().message);
    EXPECT_EQ(verified->exceptions, repaired.report.kept);
  }
  return repaired;
}

Result<Repaired> repair(const Bytes& cow, const SalvageOptions& options = {},
                        RepairOptions repair_options = {}) {
  MemoryFile file("cow", cow);
  return repair(file, options, repair_options);
}

// The entries of a list that can be kept, as (old, new): from the rules, without the library.
std::vector<std::pair<uint64_t, uint64_t>> sound_entries(
    const std::vector<std::pair<uint64_t, uint64_t>>& entries, uint64_t chunk_bytes,
    uint64_t cow_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> kept;
  std::set<uint64_t> seen;
  for (const auto& [old_chunk, new_chunk] : entries) {
    const bool metadata = new_chunk == 0 || new_chunk % (chunk_bytes / 16 + 1) == 1;
    if (metadata || new_chunk >= cow_bytes / chunk_bytes || old_chunk >= uint64_t{1} << 54)
      continue;
    if (seen.insert(old_chunk).second) kept.emplace_back(old_chunk, new_chunk);
  }
  return kept;
}

// The view of a store that has these entries, over `origin`.
Bytes view_with(const NaiveStore& store, const Bytes& cow,
                const std::vector<std::pair<uint64_t, uint64_t>>& entries) {
  NaiveStore naive;
  naive.chunk_bytes = store.chunk_bytes;
  naive.origin = store.origin;
  naive.cow = cow;
  naive.entries = entries;
  return naive.view();
}

StoreShape random_shape(std::mt19937_64& random) {
  StoreShape shape;
  shape.chunk_bytes = uint64_t{512} << below(random, 5);
  shape.origin_bytes = 512 * (1 + below(random, 600));
  const uint64_t chunks = (shape.origin_bytes + shape.chunk_bytes - 1) / shape.chunk_bytes;
  shape.exceptions = below(random, chunks + 1);
  shape.in_order = below(random, 2) == 0;
  return shape;
}

// A store whose list goes over several areas, as the kernel would have made it.
NaiveStore long_store(std::mt19937_64& random, uint64_t areas) {
  StoreShape shape;
  shape.chunk_bytes = 512;
  shape.origin_bytes = 512 * 32 * (areas + 1);
  shape.exceptions = 32 * areas - below(random, 32);
  shape.in_order = true;
  return make_store(shape, random);
}

uint64_t area_offset(const NaiveStore& store, uint64_t area) {
  return (1 + area * (store.per_area() + 1)) * store.chunk_bytes;
}

TEST(Repair, ASoundStoreStaysWhatItIs) {
  std::mt19937_64 random(run_seed());
  for (int n = 0; n < case_count(150); ++n) {
    const NaiveStore store = make_store(random_shape(random), random);
    for (const bool compact : {false, true}) {
      for (const bool zeroed : {false, true}) {
        const auto done = repair(store.cow, {{}, store.origin.size(), false}, {compact, zeroed});
        ASSERT_TRUE(done) << done.error().describe();
        EXPECT_EQ(done->report.kept, store.entries.size());
        EXPECT_TRUE(done->report.dropped.findings.empty());
        ASSERT_EQ(NaiveStore::view_of(store.origin, done->cow), store.view());
        const auto entries = NaiveStore::read_entries(done->cow);
        if (!compact) {
          ASSERT_EQ(entries, store.entries);
          continue;
        }
        for (size_t i = 0; i < entries.size(); ++i) {
          const uint64_t per = store.per_area();
          ASSERT_EQ(entries[i].first, store.entries[i].first);
          ASSERT_EQ(entries[i].second, 2 + i / per * (per + 1) + i % per);
        }
      }
    }
  }
}

// Any change of the metadata: what the rules let stand comes out, and what comes out is sound.
TEST(Repair, WhatIsSoundComesOut) {
  std::mt19937_64 random(run_seed() + 1);
  int damaged = 0;
  for (int n = 0; n < case_count(1500); ++n) {
    NaiveStore store = make_store(random_shape(random), random);
    if (store.entries.empty()) continue;
    Bytes cow = store.cow;
    const uint64_t chunks = cow.size() / store.chunk_bytes;
    for (uint64_t i = 1 + below(random, 4); i > 0; --i) {
      const uint64_t entry = below(random, store.entries.size());
      const uint64_t at =
          area_offset(store, entry / store.per_area()) + entry % store.per_area() * 16;
      const std::array<uint64_t, 9> values{
          0,
          1,
          below(random, chunks),
          chunks,
          random(),
          uint64_t{1} << 56,
          store.entries[below(random, store.entries.size())].first,
          store.entries[below(random, store.entries.size())].second,
          1 + store.per_area() + 1};
      store_le(cow.data() + at + 8 * below(random, 2), values[below(random, values.size())]);
    }
    // Some are areas whose successor is not there any more.
    const auto list = NaiveStore::read_entries(cow);
    const auto done = repair(cow);
    ASSERT_TRUE(done) << done.error().describe();
    if (done->report.dropped.count(DefectCode::kDestroyedArea) > 0) continue;
    ++damaged;
    const auto kept = sound_entries(list, store.chunk_bytes, cow.size());
    EXPECT_EQ(done->report.kept, kept.size());
    ASSERT_EQ(NaiveStore::view_of(store.origin, done->cow), view_with(store, cow, kept));
    const auto compacted = repair(cow, {}, {true, true});
    ASSERT_TRUE(compacted);
    ASSERT_EQ(NaiveStore::view_of(store.origin, compacted->cow), view_with(store, cow, kept));
  }
  EXPECT_GT(damaged, case_count(1500) / 2);
}

TEST(Repair, AnyBytesAtAll) {
  std::mt19937_64 random(run_seed() + 2);
  for (int n = 0; n < case_count(1500); ++n) {
    const NaiveStore store = make_store(random_shape(random), random);
    Bytes cow = store.cow;
    for (uint64_t i = 1 + below(random, 3); i > 0; --i) {
      const uint64_t at = below(random, cow.size());
      const uint64_t length = std::min<uint64_t>(cow.size() - at, 1 + below(random, 600));
      const Bytes junk = below(random, 3) == 0 ? Bytes(length) : random_bytes(length, random);
      std::copy(junk.begin(), junk.end(), cow.begin() + static_cast<ptrdiff_t>(at));
    }
    cow.resize(below(random, 3) == 0 ? below(random, cow.size()) : cow.size());
    SalvageOptions options;
    options.beyond_end = below(random, 2) == 0;
    if (below(random, 4) == 0) options.chunk_sectors = uint64_t{1} << below(random, 6);
    if (below(random, 2) == 0) options.origin_size = store.origin.size();
    (void)repair(cow, options, {below(random, 2) == 0, below(random, 2) == 0});
  }
}

TEST(Repair, DestroyedAreasLoseOnlyWhatTheySaid) {
  std::mt19937_64 random(run_seed() + 3);
  for (int n = 0; n < case_count(20); ++n) {
    const uint64_t areas = 9 + below(random, 20);
    const NaiveStore store = long_store(random, areas);
    const bool zeros = n % 2 == 0;
    Bytes cow = store.cow;
    std::vector<std::pair<uint64_t, uint64_t>> left;
    for (uint64_t area = 0; area < areas; ++area) {
      const bool destroyed = area % 8 == 3;
      for (uint64_t i = area * 32; i < (area + 1) * 32 && i < store.entries.size(); ++i) {
        if (!destroyed) left.push_back(store.entries[i]);
      }
      if (!destroyed) continue;
      const Bytes junk = zeros ? Bytes(512) : random_bytes(512, random);
      std::copy(junk.begin(), junk.end(),
                cow.begin() + static_cast<ptrdiff_t>(area_offset(store, area)));
    }
    SalvageOptions options;
    options.beyond_end = zeros;
    const auto done = repair(cow, options);
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_EQ(NaiveStore::read_entries(done->cow), left);
    EXPECT_EQ(NaiveStore::view_of(store.origin, done->cow), view_with(store, cow, left));
    EXPECT_EQ(done->taken_beyond, left.size() - 3 * 32);
    EXPECT_EQ(done->report.dropped.count(DefectCode::kDestroyedArea),
              zeros ? 0 : (areas - 4) / 8 + 1);
    if (!zeros) continue;
    // Without being told to, it believes the zeros, and says what lies behind them.
    const auto cautious = repair(cow);
    ASSERT_TRUE(cautious);
    EXPECT_EQ(cautious->report.kept, 3U * 32);
    EXPECT_EQ(cautious->left_beyond, left.size() - 3 * 32);
  }
}

TEST(Repair, AHeaderIsNotNeeded) {
  std::mt19937_64 random(run_seed() + 4);
  for (int n = 0; n < case_count(60); ++n) {
    StoreShape shape = random_shape(random);
    shape.in_order = true;
    shape.exceptions = std::max<uint64_t>(shape.exceptions, 1);
    const NaiveStore store = make_store(shape, random);
    for (const bool zeros : {true, false}) {
      Bytes cow = store.cow;
      const Bytes junk = zeros ? Bytes(512) : random_bytes(512, random);
      std::copy(junk.begin(), junk.end(), cow.begin());
      const auto done = repair(cow);
      ASSERT_TRUE(done) << done.error().describe();
      EXPECT_EQ(done->chunk_bytes, store.chunk_bytes);
      ASSERT_EQ(NaiveStore::read_entries(done->cow), store.entries);
      ASSERT_EQ(NaiveStore::view_of(store.origin, done->cow), store.view());
    }
  }
  // An area 0 that is gone, too: the others say it.
  NaiveStore store = long_store(random, 6);
  Bytes cow = store.cow;
  std::fill_n(cow.begin(), 1024, std::byte{0xee});
  const auto done = repair(cow);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(done->report.kept, store.entries.size() - 32);
  // Nothing at all: nothing is made up.
  Bytes junk = random_bytes(100000, random);
  const auto nothing = repair(junk);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code(), ErrorCode::kCorruption);
}

TEST(Repair, ACutStoreKeepsWhatIsThere) {
  std::mt19937_64 random(run_seed() + 5);
  const NaiveStore store = long_store(random, 5);
  for (uint64_t size = 1024; size < store.cow.size(); size += 512 * (1 + below(random, 9))) {
    Bytes cow = store.cow;
    cow.resize(size);
    std::vector<std::pair<uint64_t, uint64_t>> left;
    for (size_t i = 0; i < store.entries.size(); ++i) {
      const bool listed = area_offset(store, i / 32) + 512 <= size;
      if (listed && (store.entries[i].second + 1) * 512 <= size) left.push_back(store.entries[i]);
    }
    const auto done = repair(cow);
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_EQ(NaiveStore::read_entries(done->cow), left);
    EXPECT_EQ(NaiveStore::view_of(store.origin, done->cow), view_with(store, store.cow, left));
  }
}

// Writes entry `index` of an area.
void put_entry(Bytes& cow, uint64_t area_at, uint64_t index, uint64_t old_chunk,
               uint64_t new_chunk) {
  store_le(cow.data() + area_at + index * 16, old_chunk);
  store_le(cow.data() + area_at + index * 16 + 8, new_chunk);
}

TEST(Repair, BehindADestroyedAreaOnlyWhatTheKernelWouldHavePutThere) {
  std::mt19937_64 random(run_seed() + 7);
  NaiveStore store = long_store(random, 4);
  Bytes cow = store.cow;
  const Bytes junk = random_bytes(512, random);
  std::copy(junk.begin(), junk.end(), cow.begin() + static_cast<ptrdiff_t>(area_offset(store, 1)));
  cow.resize(512 * (1 + 4 * 33));
  // What could be entries of an area that is not this one, and one that could be its own. No entry
  // of the store has one of their old chunks.
  for (uint64_t i = 0; i < 32; ++i) {
    put_entry(cow, area_offset(store, 3), i, 1000 + i, i % 2 == 0 ? 2 + i : 1);
  }
  put_entry(cow, area_offset(store, 3), 5, 1005, 1 + 3 * 33 + 6);
  const auto done = repair(cow);
  ASSERT_TRUE(done) << done.error().describe();
  const auto entries = NaiveStore::read_entries(done->cow);
  ASSERT_EQ(entries.size(), 32U + 32 + 1);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(entries[32 + i], store.entries[64 + i]);
  EXPECT_EQ(entries.back(), std::pair(uint64_t{1005}, uint64_t{106}));
}

TEST(Repair, AFewBadEntriesDoNotMakeAnAreaADestroyedOne) {
  NaiveStore store;
  store.chunk_bytes = 512;
  store.cow.resize(512 * 70);
  store.entries = {{1, 5000}, {2, 6000}, {3, 1}, {4, 2}};
  store.write_metadata();
  const auto done = repair(store.cow);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->report.kept, 1U);
  EXPECT_EQ(done->report.dropped.count(DefectCode::kNewBeyondCow), 2U);
  EXPECT_EQ(done->report.dropped.count(DefectCode::kNewIsMetadata), 1U);
  EXPECT_EQ(done->report.dropped.findings.size(), 3U);
}

TEST(Repair, AChunkSizeIsNotGuessedWhereTwoFit) {
  Bytes cow(512 * 200);
  for (uint64_t i = 0; i < 16; ++i) {
    put_entry(cow, 512, i, i, 2 + i);
    put_entry(cow, 1024, i, i, 2 + i);
  }
  const auto refused = repair(cow);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().describe().find("512 B"), std::string::npos)
      << refused.error().describe();
  for (const uint64_t sectors : {1, 2}) {
    SalvageOptions options;
    options.chunk_sectors = sectors;
    const auto done = repair(cow, options);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->report.kept, 16U);
    EXPECT_EQ(done->chunk_bytes, sectors * 512);
  }
}

// Far behind the end, in a COW that is mostly holes.
TEST(Repair, WhatLiesBetweenHolesIsFound) {
  constexpr uint64_t kStride = 33;
  MemoryFile cow("cow", 512 * kStride * 300);
  Bytes sector(512);
  store_le(sector.data(), kSnapMagic);
  store_le(sector.data() + 4, uint32_t{1});
  store_le(sector.data() + 8, uint32_t{1});
  store_le(sector.data() + 12, uint32_t{1});
  ASSERT_TRUE(cow.write_at(0, sector));
  const std::array<uint64_t, 6> areas{0, 1, 2, 40, 41, 299};
  for (const uint64_t area : areas) {
    Bytes entry(16);
    store_le(entry.data(), area * 1000);
    store_le(entry.data() + 8, 1 + area * kStride + 1);
    ASSERT_TRUE(cow.write_at((1 + area * kStride) * 512, entry));
  }
  SalvageOptions options;
  auto salvage = Salvage::open(cow, options);
  ASSERT_TRUE(salvage);
  std::vector<uint64_t> found;
  const auto keep = [&](const SalvagedEntry& entry) -> Result<void> {
    found.push_back(entry.area);
    return {};
  };
  ASSERT_TRUE(salvage->visit(
      keep, [](const Finding&) {}, g_no_cancel));
  EXPECT_EQ(found, std::vector<uint64_t>{0});
  EXPECT_EQ(salvage->left_beyond_end(), 4U);  // as far as it looks
  options.beyond_end = true;
  salvage = Salvage::open(cow, options);
  found.clear();
  ASSERT_TRUE(salvage->visit(
      keep, [](const Finding&) {}, g_no_cancel));
  EXPECT_EQ(found, std::vector<uint64_t>(areas.begin(), areas.end()));
}

TEST(Repair, UnreadableMetadataLoseOnlyWhatTheySaid) {
  std::mt19937_64 random(run_seed() + 8);
  StoreShape shape;
  shape.chunk_bytes = 4096;
  shape.origin_bytes = 4096 * 700;
  shape.exceptions = 650;
  shape.in_order = true;
  const NaiveStore store = make_store(shape, random);
  const auto repair_without = [&](uint64_t begin, uint64_t end) {
    MemoryFile memory("cow", store.cow);
    FaultFile cow(memory, [=](const FileOperation& operation) -> Result<void> {
      const bool hit = operation.kind == FileOperation::Kind::kRead && operation.offset < end &&
                       begin < operation.offset + operation.length;
      return hit ? Result<void>(Error(ErrorCode::kIo, "bad sector")) : Result<void>();
    });
    auto done = repair(cow);
    EXPECT_TRUE(done) << done.error().describe();
    return *std::move(done);
  };
  const auto without_header = repair_without(0, 512);
  EXPECT_EQ(NaiveStore::read_entries(without_header.cow), store.entries);
  for (uint64_t area = 0; area < 3; ++area) {
    const uint64_t at = area_offset(store, area);
    for (const uint64_t sectors : {1, 8}) {
      const uint64_t first = sectors == 8 ? 0 : below(random, 4);
      const auto done = repair_without(at + 512 * first, at + 512 * (first + sectors));
      auto left = store.entries;
      const auto lost = left.begin() + static_cast<ptrdiff_t>(area * 256 + first * 32);
      const uint64_t count =
          std::min<uint64_t>(sectors * 32, static_cast<uint64_t>(left.end() - lost));
      left.erase(lost, lost + static_cast<ptrdiff_t>(count));
      EXPECT_EQ(NaiveStore::read_entries(done.cow), left);
      EXPECT_EQ(done.report.dropped.count(DefectCode::kDestroyedArea), 1U);
    }
  }
}

TEST(Repair, UnreadableDataAreDropped) {
  std::mt19937_64 random(run_seed() + 6);
  for (int n = 0; n < 20; ++n) {
    const NaiveStore store = long_store(random, 3);
    std::set<uint64_t> bad;
    for (int i = 0; i < 5; ++i)
      bad.insert(store.entries[below(random, store.entries.size())].second);
    MemoryFile memory("cow", store.cow);
    FaultFile cow(memory, [&](const FileOperation& operation) -> Result<void> {
      if (operation.kind != FileOperation::Kind::kRead) return {};
      for (const uint64_t chunk : bad) {
        if (operation.offset < (chunk + 1) * 512 &&
            chunk * 512 < operation.offset + operation.length) {
          return Error(ErrorCode::kIo, "bad sector");
        }
      }
      return {};
    });
    auto report = verify_store(cow, store.origin.size(), g_no_cancel);
    ASSERT_TRUE(report);
    Progress progress;
    ASSERT_TRUE(verify_data(cow, *report, Job{progress, g_no_cancel, 2}));
    std::set<uint64_t> found;
    for (const Finding& finding : report->findings) {
      EXPECT_EQ(finding.code, DefectCode::kDataUnreadable);
      EXPECT_EQ(*finding.offset, *finding.new_chunk * 512);
      const size_t place = *finding.area * 32 + *finding.index;
      EXPECT_EQ(store.entries[place].second, *finding.new_chunk);
      found.insert(*finding.new_chunk);
    }
    EXPECT_EQ(found, bad);
    EXPECT_EQ(progress.transferred(), store.entries.size() * 512);
    auto left = store.entries;
    std::erase_if(left, [&](const auto& entry) { return bad.count(entry.second) > 0; });
    for (const bool compact : {false, true}) {
      const auto done = repair(cow, {}, {compact, true});
      ASSERT_TRUE(done) << done.error().describe();
      EXPECT_EQ(done->report.kept, left.size());
      EXPECT_EQ(done->report.dropped.count(DefectCode::kDataUnreadable), bad.size());
      EXPECT_EQ(NaiveStore::view_of(store.origin, done->cow), view_with(store, store.cow, left));
    }
  }
}

}  // namespace
}  // namespace snaptool::test
