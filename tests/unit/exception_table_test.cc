// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/exception_table.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

// Loads a store of 512-byte chunks with these entries (whose data chunks need not exist).
Result<ExceptionTable> load(const std::vector<std::pair<uint64_t, uint64_t>>& entries) {
  NaiveStore naive;
  naive.chunk_bytes = 512;
  naive.cow.resize((2 + (entries.size() / 32 + 1) * 33) * 512);
  naive.entries = entries;
  naive.write_metadata();
  MemoryFile cow("cow", naive.cow);
  SNAP_ASSIGN(auto store, PersistentStore::open(cow));
  const Cancel cancel;
  return ExceptionTable::load(store, cancel);
}

TEST(ExceptionTable, LooksUpRunsAndGaps) {
  const auto table = load({{10, 2}, {11, 3}, {12, 4}, {5, 9}, {13, 6}});
  ASSERT_TRUE(table);
  EXPECT_EQ(table->runs(), 3U);
  EXPECT_FALSE(table->find(0).mapped);
  EXPECT_EQ(table->find(0).length, 5U);
  EXPECT_TRUE(table->find(5).mapped);
  EXPECT_EQ(table->find(5).new_chunk, 9U);
  EXPECT_EQ(table->find(6).length, 4U);
  EXPECT_EQ(table->find(11).new_chunk, 3U);
  EXPECT_EQ(table->find(11).length, 2U);
  EXPECT_EQ(table->find(13).new_chunk, 6U);
  EXPECT_EQ(table->find(14).length, UINT64_MAX - 14);
}

TEST(ExceptionTable, OfDuplicatesTheFirstInTheListWins) {
  std::mt19937_64 random(run_seed());
  for (int n = 0; n < case_count(500); ++n) {
    std::vector<std::pair<uint64_t, uint64_t>> entries;
    std::map<uint64_t, uint64_t> expected;
    uint64_t old_chunk = 0;
    uint64_t new_chunk = 2;
    for (uint64_t i = 0, count = random() % 100; i < count; ++i) {
      const bool continues = random() % 3 != 0;
      old_chunk = continues ? old_chunk + 1 : random() % 40;
      new_chunk = continues ? new_chunk + 1 : 2 + random() % 1000;
      entries.emplace_back(old_chunk, new_chunk);
      expected.emplace(old_chunk, new_chunk);
    }
    const auto table = load(entries);
    ASSERT_TRUE(table);
    for (uint64_t chunk = 0; chunk < 150; ++chunk) {
      const auto found = table->find(chunk);
      const auto model = expected.find(chunk);
      ASSERT_EQ(found.mapped, model != expected.end()) << chunk;
      if (found.mapped) {
        ASSERT_EQ(found.new_chunk, model->second) << chunk;
      }
      ASSERT_GT(found.length, 0U);
    }
  }
}

TEST(ExceptionTable, HostileNumbers) {
  const auto high_byte = load({{1, uint64_t{1} << 56}});
  ASSERT_FALSE(high_byte);
  EXPECT_EQ(high_byte.error().code(), ErrorCode::kCorruption);
  // An old chunk that no origin has is never visible; a new chunk that no COW has stays out of
  // reach.
  const auto table = load({{UINT64_MAX, 2},
                           {uint64_t{1} << 54, 3},
                           {7, (uint64_t{1} << 56) - 1},
                           {8, uint64_t{1} << 55},
                           {UINT64_MAX - 1, 5}});
  ASSERT_TRUE(table);
  EXPECT_EQ(table->runs(), 2U);
  EXPECT_EQ(table->find(7).new_chunk, (uint64_t{1} << 54) - 1);
  EXPECT_EQ(table->find(8).new_chunk, (uint64_t{1} << 54) - 1);
  EXPECT_FALSE(table->find(uint64_t{1} << 54).mapped);
}

TEST(ExceptionTable, VeryLongRunsAreCut) {
  std::vector<std::pair<uint64_t, uint64_t>> entries;
  constexpr uint64_t kCount = (uint64_t{1} << 20) + 5;
  for (uint64_t i = 0; i < kCount; ++i) entries.emplace_back(100 + i, 5000 + i);
  const auto table = load(entries);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->runs(), 2U);
  EXPECT_EQ(table->find(100).length, uint64_t{1} << 20);
  EXPECT_EQ(table->find(100 + kCount - 1).new_chunk, 5000 + kCount - 1);
}

TEST(ExceptionTable, WhatIsInsertedIsFound) {
  std::mt19937_64 random(run_seed() + 1);
  for (int n = 0; n < case_count(20); ++n) {
    std::vector<std::pair<uint64_t, uint64_t>> entries;
    std::map<uint64_t, uint64_t> expected;
    for (uint64_t i = 0, count = random() % 50; i < count; ++i) {
      const uint64_t old_chunk = random() % 20000;
      if (expected.emplace(old_chunk, 2 + i).second) entries.emplace_back(old_chunk, 2 + i);
    }
    auto table = load(entries);
    ASSERT_TRUE(table);
    // More than are kept apart before they are sorted in.
    for (uint64_t i = 0; i < 9000; ++i) {
      const uint64_t old_chunk = random() % 2 == 0 ? i : random() % 20000;
      if (!expected.emplace(old_chunk, 1000 + i).second) continue;
      table->insert(old_chunk, 1000 + i);
    }
    for (uint64_t chunk = 0; chunk < 20010; ++chunk) {
      const auto found = table->find(chunk);
      const auto model = expected.find(chunk);
      ASSERT_EQ(found.mapped, model != expected.end()) << chunk;
      if (found.mapped) {
        ASSERT_EQ(found.new_chunk, model->second);
      }
      // The same can be said of all of its length.
      const uint64_t last = chunk + std::min<uint64_t>(found.length - 1, 20010 - chunk);
      const auto end = expected.find(last);
      ASSERT_EQ(end != expected.end(), found.mapped) << chunk;
      if (found.mapped) {
        ASSERT_EQ(end->second, found.new_chunk + (last - chunk));
      }
    }
    std::map<uint64_t, uint64_t> visited;
    table->visit([&](uint64_t old_chunk, uint64_t new_chunk, uint64_t length) {
      for (uint64_t i = 0; i < length; ++i) visited.emplace(old_chunk + i, new_chunk + i);
    });
    ASSERT_EQ(visited, expected);
  }
}

}  // namespace
}  // namespace snaptool::test
