// SPDX-License-Identifier: Apache-2.0
// A power cut at every instant of a merge: the view is unchanged, and a resumed merge ends with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "libsnap/base/bytes.h"
#include "libsnap/ops/merge.h"
#include "tests/support/crash.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

// What is done to the two files: the merge, or a mutant of it.
using Merger = std::function<Result<void>(File& origin, File& cow, uint64_t batch_bytes)>;

struct Scenario {
  NaiveStore store;
  uint64_t batch_bytes = 256 * kMiB;
  bool sparse = false;  // what is zeros are holes
  bool shares = false;  // the origin can share the COW's blocks
  FlushFault origin_flush = FlushFault::kNone;
  FlushFault cow_flush = FlushFault::kNone;
  Merger merger;  // merge_files when empty
};

Cancel g_no_cancel;

// Merges in memory, recording; returns whether it succeeded.
Result<void> merge_by(unsigned jobs, File& origin, File& cow, uint64_t batch_bytes,
                      bool scrub = false) {
  TestContext context;
  context.files.add("origin", origin);
  context.files.add("cow", cow);
  ops::MergeRequest request;
  request.image = {raw_file("origin"), {raw_file("cow")}, {}};
  request.options.batch_bytes = batch_bytes;
  request.options.accept_duplicates = true;
  request.options.scrub = scrub;
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(context.get(jobs), request));
  return job->run();
}

Result<void> merge_files(File& origin, File& cow, uint64_t batch_bytes) {
  return merge_by(1, origin, cow, batch_bytes);
}

// Entries behind the terminator of the area that holds it: what a later writer could revive.
bool clean_behind_terminator(const Bytes& cow, uint64_t chunk_bytes) {
  const uint64_t per_area = chunk_bytes / 16;
  const uint64_t live = NaiveStore::read_entries(cow).size();
  const uint64_t area = (1 + live / per_area * (per_area + 1)) * chunk_bytes;
  const auto begin = cow.begin() + static_cast<ptrdiff_t>(area + live % per_area * 16);
  const auto end = cow.begin() + static_cast<ptrdiff_t>(area + chunk_bytes);
  return std::all_of(begin, end, [](std::byte b) { return b == std::byte{0}; });
}

struct Effort {
  size_t exhaustive = scaled(128);
  size_t sampled = scaled(12);
  size_t resume_each = 4;  // every so many states are resumed
  size_t nest_each = 100;  // of these, so many with power cuts of their own
  int depth = 2;           // resumes of resumes
};

void make_holes(MemoryFile& file) {
  constexpr uint64_t kPage = 4096;
  const Bytes content = content_of(file);
  for (uint64_t at = 0; at + kPage <= content.size(); at += kPage) {
    if (is_all_zero(std::span(content).subspan(at, kPage))) {
      EXPECT_TRUE(file.zero_at(at, kPage, ZeroMode::kPunch));
    }
  }
}

// Counts the crash states in which something is wrong; `complain` makes each a test failure.
size_t count_bad_states(const Scenario& scenario, std::mt19937_64& random, bool complain,
                        const Effort& effort = {}) {
  const Bytes view = NaiveStore::view_of(scenario.store.origin, scenario.store.cow);
  const uint64_t chunk_bytes = scenario.store.chunk_bytes;
  const Merger merger = scenario.merger ? scenario.merger : Merger(merge_files);
  MemoryFile origin("origin", scenario.store.origin);
  MemoryFile cow("cow", scenario.store.cow);
  if (scenario.sparse) {
    for (MemoryFile* const file : {&origin, &cow}) make_holes(*file);
  }
  WriteLog log;
  LoggedFile logged_origin(origin, log, scenario.origin_flush);
  LoggedFile logged_cow(cow, log, scenario.cow_flush);
  if (scenario.shares) logged_origin.share_blocks();
  const auto merged = merger(logged_origin, logged_cow, scenario.batch_bytes);
  EXPECT_TRUE(merged) << merged.error().describe();
  EXPECT_EQ(logged_origin.shared_bytes() > 0, scenario.shares);

  size_t bad = 0;
  size_t states = 0;
  const auto judge = [&](bool good, size_t cut, const std::string& which, const char* what) {
    if (good) return;
    ++bad;
    if (complain) ADD_FAILURE() << what << " after " << cut << " events, " << which;
  };
  const auto judge_end = [&](const Bytes& origin_end, const Bytes& cow_end, size_t cut,
                             const std::string& which) {
    judge(std::equal(view.begin(), view.end(), origin_end.begin()), cut, which,
          "the end: the origin is not the view");
    judge(
        NaiveStore::read_entries(cow_end).empty() && clean_behind_terminator(cow_end, chunk_bytes),
        cut, which, "the end: entries are left");
  };
  log.visit_crash_states(
      effort.exhaustive, effort.sampled, random,
      [&](const auto& files, size_t cut, const std::string& which) {
        ++states;
        judge(NaiveStore::view_of(files[0], files[1]) == view, cut, which, "the view changed");
        if (states % effort.resume_each != 0) return;
        // Resumed, it must end as an uninterrupted merge does.
        MemoryFile resumed_origin("origin", files[0]);
        MemoryFile resumed_cow("cow", files[1]);
        const auto resumed = merger(resumed_origin, resumed_cow, scenario.batch_bytes);
        judge(resumed.has_value(), cut, which, "resuming failed");
        judge_end(content_of(resumed_origin), content_of(resumed_cow), cut, which);
        if (effort.depth == 0 || states % (effort.resume_each * effort.nest_each) != 0) return;
        // The resumed merge has its power cuts, too.
        Scenario nested = scenario;
        nested.store.origin = files[0];
        nested.store.cow = files[1];
        bad += count_bad_states(nested, random, complain,
                                {16, 3, 2, effort.nest_each * 8, effort.depth - 1});
      });
  log.visit_final_states(effort.exhaustive, effort.sampled, random,
                         [&](const auto& files, size_t cut, const std::string& which) {
                           judge_end(files[0], files[1], cut, which);
                         });
  EXPECT_GE(states, 1U);
  return bad;
}

TEST(MergeCrash, EveryStateKeepsTheView) {
  std::mt19937_64 random(run_seed());
  struct Case {
    uint64_t chunk_bytes;
    uint64_t origin_chunks;
    uint64_t exceptions;
    uint64_t extra;  // bytes of a part chunk at the origin's end
    uint64_t batch_bytes;
  };
  const std::vector<Case> cases = {
      {512, 8, 1, 0, kMiB},         // one entry
      {512, 80, 32, 0, kMiB},       // an area exactly full
      {512, 80, 33, 100, kMiB},     // over an area's border; a part sector at the origin's end
      {512, 120, 70, 0, 10 * 512},  // many batches
      {1024, 100, 64, 512, 7 * kKiB}, {4096, 40, 40, 512, 64 * kKiB},  // the odd tail is merged too
      {4096, 300, 257, 0, kMiB},      {65536, 6, 5, 1024, 128 * kKiB}, {kMiB, 3, 2, 3 * 512, kMiB},
  };
  for (const Case& c : cases) {
    for (const bool in_order : {true, false}) {
      SCOPED_TRACE(testing::Message() << c.chunk_bytes << " byte chunks, " << c.exceptions
                                      << " exceptions, " << (in_order ? "in order" : "shuffled"));
      Scenario scenario;
      scenario.store = make_store({c.chunk_bytes, c.origin_chunks * c.chunk_bytes + c.extra,
                                   c.exceptions, in_order, in_order},
                                  random);
      scenario.batch_bytes = c.batch_bytes;
      EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
    }
  }
}

TEST(MergeCrash, CopiedByManyThreads) {
  std::mt19937_64 random(run_seed() + 8);
  Scenario scenario;  // three pieces of a MiB are under way at once
  scenario.store = make_store({kMiB, 4 * kMiB + 512, 4, true, false}, random);
  scenario.merger = [](File& origin, File& cow, uint64_t batch_bytes) {
    return merge_by(3, origin, cow, batch_bytes);
  };
  EXPECT_EQ(count_bad_states(scenario, random, true, {scaled(64), 3, 4, 100, 1}), 0U);
}

TEST(MergeCrash, OfDuplicatesTheLaterIsGoneBeforeTheFirstIsCopied) {
  std::mt19937_64 random(run_seed() + 7);
  for (size_t n = 0; n < scaled(8); ++n) {
    Scenario scenario;
    // Several sectors of entries; some of the later ones are for the chunks of earlier ones.
    scenario.store = make_store({1024, 110 * 1024, 60, true, false}, random);
    auto& entries = scenario.store.entries;
    for (int i = 0; i < 6; ++i) {
      entries[30 + random() % 30].first = entries[random() % 30].first;
    }
    scenario.store.write_metadata();
    EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
  }
}

// The first sector of the area is zeroed, the rest still holds entries.
NaiveStore torn_store(std::mt19937_64& random) {
  NaiveStore store = make_store({4096, 60 * 4096, 50, true, true}, random);
  std::fill_n(store.cow.begin() + 4096, 512, std::byte{0});
  store.entries.clear();
  return store;
}

TEST(MergeCrash, AStoreThatLooksEmptyIsLeftClean) {
  std::mt19937_64 random(run_seed() + 1);
  Scenario scenario;
  scenario.store = torn_store(random);
  // A torn clear: the data of all entries are on the origin (which are chunks 0 to 49, in order).
  for (uint64_t i = 0; i < 50 * 4096; ++i) {
    scenario.store.origin[i] = scenario.store.cow[2 * 4096 + i];
  }
  EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
}

TEST(MergeCrash, AStoreWhoseBeginningWasWipedIsNoTornClear) {
  std::mt19937_64 random(run_seed() + 4);
  const NaiveStore store = torn_store(random);
  MemoryFile origin("origin", store.origin);
  MemoryFile cow("cow", store.cow);
  Progress progress;
  const Job job{progress, g_no_cancel, 1};
  MergeOptions options;
  for (const bool accept_duplicates : {false, true}) {  // which waives nothing here
    options.accept_duplicates = accept_duplicates;
    const auto refused = Merge::begin(origin, cow, options, job);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
    EXPECT_EQ(content_of(cow), store.cow);
  }
  options.discard_tail = true;
  auto merge = Merge::begin(origin, cow, options, job);
  ASSERT_TRUE(merge);
  ASSERT_TRUE((*merge)->run(job));
  EXPECT_TRUE(clean_behind_terminator(content_of(cow), store.chunk_bytes));
  EXPECT_EQ(content_of(origin), store.origin);
}

TEST(MergeCrash, MutantWithoutTheOriginsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 2);
  Scenario scenario;
  scenario.store = make_store({4096, 40 * 4096, 20, true, false}, random);
  scenario.origin_flush = FlushFault::kSwallowed;
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

TEST(MergeCrash, MutantWithoutTheCowsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 3);
  Scenario scenario;
  scenario.store = make_store({4096, 40 * 4096, 20, true, false}, random);
  scenario.cow_flush = FlushFault::kSwallowed;
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

TEST(MergeCrash, HolesAndZerosOnBothSides) {
  std::mt19937_64 random(run_seed() + 11);
  for (const uint64_t chunk_bytes : {4 * kKiB, 64 * kKiB}) {
    const uint64_t chunks = chunk_bytes == 4 * kKiB ? 40 : 9;
    Scenario scenario;
    scenario.sparse = true;
    scenario.store =
        make_store({chunk_bytes, chunks * chunk_bytes + 512, chunks - 2, true, false}, random);
    scenario.batch_bytes = 3 * chunk_bytes;
    const auto zero = [&](Bytes& bytes, uint64_t chunk) {
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(chunk * chunk_bytes), chunk_bytes,
                  std::byte{0});
    };
    for (const auto& [old_chunk, new_chunk] : scenario.store.entries) {
      if (random() % 2 == 0) zero(scenario.store.cow, new_chunk);
    }
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      if (random() % 2 == 0) zero(scenario.store.origin, chunk);
    }
    EXPECT_EQ(count_bad_states(scenario, random, true, {scaled(64), 2, 16, 100, 0}), 0U);
    scenario.origin_flush = FlushFault::kTooEarly;
    EXPECT_GT(count_bad_states(scenario, random, false, {1, 2, 100, 100, 0}), 0U);
  }
}

TEST(MergeCrash, BlocksAreShared) {
  std::mt19937_64 random(run_seed() + 13);
  for (const uint64_t chunk_bytes : {64 * kKiB, 128 * kKiB}) {
    Scenario scenario;
    scenario.shares = true;
    scenario.store = make_store({chunk_bytes, 6 * chunk_bytes + 1024, 5, true, false}, random);
    scenario.batch_bytes = 2 * chunk_bytes;
    EXPECT_EQ(count_bad_states(scenario, random, true, {scaled(32), 2, 4, 100, 0}), 0U);
    scenario.origin_flush = FlushFault::kTooEarly;
    EXPECT_GT(count_bad_states(scenario, random, false, {1, 2, 100, 100, 0}), 0U);
  }
}

TEST(MergeCrash, WhatIsScrubbedNothingNeedsAnyMore) {
  std::mt19937_64 random(run_seed() + 12);
  Scenario scenario;
  scenario.store = make_store({4096, 40 * 4096, 30, true, false}, random);
  scenario.batch_bytes = 9 * 4096;
  scenario.merger = [](File& origin, File& cow, uint64_t batch_bytes) -> Result<void> {
    SNAP_TRY(merge_by(1, origin, cow, batch_bytes, true));
    const Bytes left = content_of(cow);
    EXPECT_TRUE(is_all_zero(std::span(left).subspan(2 * 4096)));
    return {};
  };
  EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
  // A mutant that scrubs before the last clear is durable.
  scenario.cow_flush = FlushFault::kTooEarly;
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

// Many batches: what is in flight is always the one before.
Scenario many_batches(std::mt19937_64& random) {
  Scenario scenario;
  scenario.store = make_store({4096, 40 * 4096, 30, true, false}, random);
  scenario.batch_bytes = 3 * 4096;
  return scenario;
}

TEST(MergeCrash, MutantThatClearsABatchTooEarlyIsCaught) {
  std::mt19937_64 random(run_seed() + 9);
  Scenario scenario = many_batches(random);
  EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
  scenario.origin_flush = FlushFault::kTooEarly;
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

TEST(MergeCrash, MutantThatClearsWhileAClearAboveIsNotDurableIsCaught) {
  std::mt19937_64 random(run_seed() + 10);
  Scenario scenario = many_batches(random);
  scenario.cow_flush = FlushFault::kTooEarly;
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

// Merges entry by entry, naively: with both flushes, but `order` says which entry is next.
Result<void> merge_naively(File& origin, File& cow, bool from_the_head) {
  const Bytes content = content_of(cow);
  const auto entries = NaiveStore::read_entries(content);
  constexpr uint64_t kChunk = 4096;
  for (size_t n = 0; n < entries.size(); ++n) {
    const size_t i = from_the_head ? n : entries.size() - 1 - n;
    const auto& [old_chunk, new_chunk] = entries[i];
    const auto data = std::span(content).subspan(new_chunk * kChunk, kChunk);
    SNAP_TRY(origin.write_at(old_chunk * kChunk, data));
    SNAP_TRY(origin.flush());
    SNAP_TRY(cow.write_at(kChunk + i * 16, Bytes(16)));
    SNAP_TRY(cow.flush());
  }
  return {};
}

TEST(MergeCrash, MutantFromTheHeadIsCaught) {
  std::mt19937_64 random(run_seed() + 5);
  Scenario scenario;
  scenario.store = make_store({4096, 40 * 4096, 20, true, false}, random);
  const auto merger = [](bool from_the_head) {
    return [from_the_head](File& origin, File& cow, uint64_t) {
      return merge_naively(origin, cow, from_the_head);
    };
  };
  // The naive one is sound the other way round: it is the order that is caught.
  scenario.merger = merger(false);
  EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
  scenario.merger = merger(true);
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

TEST(MergeCrash, MutantThatLeavesTheTailIsCaught) {
  std::mt19937_64 random(run_seed() + 6);
  Scenario scenario;
  scenario.store = torn_store(random);
  for (uint64_t i = 0; i < 50 * 4096; ++i) {
    scenario.store.origin[i] = scenario.store.cow[2 * 4096 + i];
  }
  scenario.merger = [](File& origin, File& cow, uint64_t) {
    return merge_naively(origin, cow, false);
  };
  EXPECT_GT(count_bad_states(scenario, random, false), 0U);
}

}  // namespace
}  // namespace snaptool::test
