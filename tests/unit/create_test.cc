// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/create.h"

#include <gtest/gtest.h>

#include "libsnap/snap/store/persistent_store.h"
#include "libsnap/snap/store/transient_store.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

const Cancel g_no_cancel;

Result<PersistentStore> open_to_write(File& cow) {
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(g_no_cancel));
  return store;
}

// Takes chunks one by one until the store says no, by the rule of the format: an area is a chunk
// before the `per_area` data chunks of its entries, and is never full without a successor.
uint64_t count_naively(uint64_t chunks, uint64_t per_area) {
  uint64_t entries = 0;
  for (uint64_t chunk = 2; chunk < chunks; ++chunk) {
    if (chunk % (per_area + 1) == 1) continue;
    const uint64_t area_of_next = (entries + 1) / per_area;
    if ((entries + 1) % per_area == 0 && 1 + area_of_next * (per_area + 1) >= chunks) break;
    ++entries;
  }
  return entries;
}

TEST(Create, RoomIsWhatCanBeTakenAndCommitted) {
  for (uint64_t chunks = 2; chunks < 110; ++chunks) {
    MemoryFile cow("cow", chunks * 512 + 100);
    ASSERT_TRUE(create_store(cow, Layout(1)));
    auto store = open_to_write(cow);
    ASSERT_TRUE(store);
    const uint64_t expected = count_naively(chunks, 32);
    EXPECT_EQ(store->room(), expected) << chunks;
    std::vector<Exception> taken;
    while (store->room() > 0) {
      const auto next = store->prepare_exception();
      ASSERT_TRUE(next);
      EXPECT_TRUE(next->can_commit);
      EXPECT_LT(next->new_chunk, chunks);
      EXPECT_NE(next->new_chunk % 33, 1U);
      taken.push_back({taken.size(), next->new_chunk});
    }
    EXPECT_EQ(taken.size(), expected);
    ASSERT_TRUE(store->commit_exceptions(taken));
    // One more does not fit, or could not be committed.
    const auto more = store->prepare_exception();
    EXPECT_TRUE(!more || !more->can_commit) << chunks;
    EXPECT_EQ(NaiveStore::read_entries(content_of(cow)).size(), expected);
  }
}

TEST(Create, TheSizeForSoManyIsExact) {
  for (const uint64_t chunk_sectors : {1, 2, 8}) {
    const Layout layout(chunk_sectors);
    for (uint64_t exceptions = 0; exceptions < 300; ++exceptions) {
      const auto size = store_size_for(layout, exceptions);
      ASSERT_TRUE(size);
      const uint64_t chunks = *size / layout.chunk_bytes();
      EXPECT_GE(count_naively(chunks, layout.exceptions_per_area()), exceptions);
      if (exceptions > 0) {
        EXPECT_LT(count_naively(chunks - 1, layout.exceptions_per_area()), exceptions);
      }
      EXPECT_EQ(usable_store_size(layout, *size), *size);
    }
  }
  EXPECT_FALSE(store_size_for(Layout(8), UINT64_MAX));
  EXPECT_FALSE(store_size_for(Layout(8), uint64_t{1} << 51));
}

TEST(Create, ALastChunkThatWouldBeATrapIsLeftOut) {
  const Layout layout(1);
  for (uint64_t chunks = 3; chunks < 200; ++chunks) {
    const uint64_t usable = usable_store_size(layout, chunks * 512 + 511);
    // The 32 data chunks of an area, and nothing behind them.
    EXPECT_EQ(usable, (chunks % 33 == 1 ? chunks - 1 : chunks) * 512) << chunks;
  }
  EXPECT_EQ(usable_store_size(layout, 1023), 0U);
}

TEST(Create, ChunksForMoreIsTheLeastThatHasRoom) {
  std::mt19937_64 random(run_seed() + 60);
  for (int n = 0; n < case_count(200); ++n) {
    const NaiveStore naive = make_store({512, 200 * 512, random() % 150, true, false}, random);
    MemoryFile cow("cow", naive.cow);
    auto store = open_to_write(cow);
    ASSERT_TRUE(store);
    const uint64_t more = random() % 100;
    const uint64_t chunks = store->chunks_for(more);
    ASSERT_TRUE(cow.resize(chunks * 512));
    EXPECT_GE(store->room(), more);
    if (more == 0) continue;
    ASSERT_TRUE(cow.resize((chunks - 1) * 512));
    EXPECT_LT(store->room(), more);
  }
}

TEST(Create, MinimumKeepsEverything) {
  std::mt19937_64 random(run_seed() + 61);
  for (int n = 0; n < case_count(200); ++n) {
    const NaiveStore naive =
        make_store({512, 200 * 512, random() % 150, random() % 2 == 0, false}, random);
    MemoryFile cow("cow", naive.cow);
    const auto minimum = minimum_store_size(cow, g_no_cancel);
    ASSERT_TRUE(minimum);
    ASSERT_LE(*minimum, cow.size());
    ASSERT_TRUE(cow.resize(*minimum));
    EXPECT_EQ(NaiveStore::view_of(naive.origin, content_of(cow)), naive.view());
    ASSERT_TRUE(open_to_write(cow));
    // A chunk less, and something is gone: a read fails, or the list's end.
    Bytes cut = content_of(cow);
    cut.resize(cut.size() - 512);
    EXPECT_THROW(NaiveStore::view_of(naive.origin, cut), std::out_of_range);
  }
}

TEST(Create, NoMinimumIsGivenForAListWhoseBeginningWasWiped) {
  std::mt19937_64 random(run_seed() + 62);
  NaiveStore naive = make_store({512, 200 * 512, 60, false, false}, random);
  std::fill_n(naive.cow.begin() + 512, 16,
              std::byte{0});  // the first entry: now the list ends here
  MemoryFile cow("cow", naive.cow);
  const auto minimum = minimum_store_size(cow, g_no_cancel);
  ASSERT_FALSE(minimum);
  EXPECT_EQ(minimum.error().code(), ErrorCode::kCorruption);
}

TEST(TransientStore, HandsOutChunksFromTheStart) {
  MemoryFile cow("cow", 5 * 4096 + 100);
  TransientStore store(cow, 8);
  EXPECT_EQ(store.usage().allocated_sectors, 0U);
  for (uint64_t i = 0; i < 5; ++i) {
    const auto next = store.prepare_exception();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->new_chunk, i);
  }
  EXPECT_FALSE(store.prepare_exception());
  EXPECT_EQ(store.usage().allocated_sectors, 40U);
  EXPECT_EQ(store.usage().total_sectors, 40U);
  EXPECT_EQ(store.usage().metadata_sectors, 0U);
}

}  // namespace
}  // namespace snaptool::test
