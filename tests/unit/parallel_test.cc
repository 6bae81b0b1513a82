// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <new>
#include <set>
#include <thread>

namespace snaptool {
namespace {

TEST(Parallel, EachIndexOnce) {
  Progress progress;
  const Cancel cancel;
  for (const unsigned jobs : {1U, 3U, 64U}) {
    std::mutex mutex;
    std::multiset<size_t> seen;
    ASSERT_TRUE(parallel_for(100, Job{progress, cancel, jobs}, [&](size_t i) -> Result<void> {
      const std::lock_guard lock(mutex);
      seen.insert(i);
      return {};
    }));
    EXPECT_EQ(seen.size(), 100U);
    EXPECT_EQ(std::set<size_t>(seen.begin(), seen.end()).size(), 100U);
  }
  EXPECT_TRUE(parallel_for(0, Job{progress, cancel, 2},
                           [](size_t) -> Result<void> { return Error(ErrorCode::kIo, "never"); }));
}

TEST(Parallel, TheLowestFailureIsReportedAndTheRestStops) {
  Progress progress;
  const Cancel cancel;
  std::atomic<size_t> calls{0};
  const auto result = parallel_for(100000, Job{progress, cancel, 4}, [&](size_t i) -> Result<void> {
    ++calls;
    if (i >= 10) return Error(ErrorCode::kIo, std::to_string(i));
    return {};
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "10");
  EXPECT_LT(calls.load(), 1000U);
}

TEST(Parallel, CancellationIsAnError) {
  Progress progress;
  Cancel cancel;
  const auto result = parallel_for(100, Job{progress, cancel, 2}, [&](size_t) -> Result<void> {
    cancel.request();
    return {};
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kInterrupted);
}

TEST(Parallel, WhatACallThrowsIsThrownOnceNoneRuns) {
  Progress progress;
  const Cancel cancel;
  for (const unsigned jobs : {1U, 4U}) {
    std::atomic<int> running{0};
    EXPECT_THROW((void)parallel_for(100000, Job{progress, cancel, jobs},
                                    [&](size_t i) -> Result<void> {
                                      ++running;
                                      if (i == 10) {
                                        --running;
                                        throw std::bad_alloc();
                                      }
                                      std::this_thread::yield();
                                      --running;
                                      return {};
                                    }),
                 std::bad_alloc);
    EXPECT_EQ(running.load(), 0);
  }
}

// Each kind of step, while the other threads wait for it or are at work.
TEST(ParallelOrdered, WhatAStepThrowsIsThrownOnceNoneRuns) {
  Progress progress;
  const Cancel cancel;
  for (const unsigned jobs : {1U, 4U}) {
    for (const int thrower : {0, 1, 2, 3}) {
      std::atomic<size_t> taken{0};
      std::atomic<int> running{0};
      const auto step = [&](int kind) -> Result<void> {
        ++running;
        if (kind == thrower && taken >= 7) {
          --running;
          throw std::bad_alloc();
        }
        std::this_thread::yield();
        --running;
        return {};
      };
      const OrderedSteps steps{[&](size_t) -> Result<bool> {
                                 ++taken;
                                 SNAP_TRY(step(0));
                                 return taken < 100000;
                               },
                               [&](size_t) { return step(1); }, [&](size_t) { return step(2); },
                               [&](size_t) { return step(3); }};
      EXPECT_THROW((void)parallel_ordered(6, Job{progress, cancel, jobs}, steps), std::bad_alloc);
      EXPECT_EQ(running.load(), 0);
      EXPECT_LT(taken.load(), 100U);
    }
  }
}

TEST(ParallelOrdered, EachStepOnceAndInOrder) {
  Progress progress;
  const Cancel cancel;
  for (const unsigned jobs : {1U, 2U, 16U}) {
    constexpr size_t kItems = 500;
    std::vector<size_t> slots(5);
    size_t taken = 0;
    std::vector<size_t> committed;
    const auto take = [&](size_t slot) -> Result<bool> {
      if (taken == kItems) return false;
      slots[slot] = taken++;
      return true;
    };
    const auto work = [&](size_t slot) -> Result<void> {
      if (slots[slot] % 7 == 0) std::this_thread::yield();
      slots[slot] += 1000;
      return {};
    };
    const auto commit = [&](size_t slot) -> Result<void> {
      committed.push_back(slots[slot]);
      return {};
    };
    // Until it is done, nobody takes another item into the slot.
    std::atomic<size_t> followed{0};
    const auto follow = [&](size_t slot) -> Result<void> {
      const size_t item = slots[slot];
      if (item % 5 == 0) std::this_thread::yield();
      EXPECT_EQ(slots[slot], item);
      ++followed;
      return {};
    };
    ASSERT_TRUE(
        parallel_ordered(slots.size(), Job{progress, cancel, jobs}, {take, work, commit, follow}));
    ASSERT_EQ(committed.size(), kItems);
    EXPECT_EQ(followed.load(), kItems);
    for (size_t i = 0; i < kItems; ++i) ASSERT_EQ(committed[i], 1000 + i);
  }
}

TEST(ParallelOrdered, StopsAtTheFirstError) {
  Progress progress;
  const Cancel cancel;
  for (const int step : {0, 1, 2, 3}) {
    std::vector<size_t> slots(4);
    size_t taken = 0;
    std::atomic<size_t> commits{0};
    const auto fails = [step](int here, size_t item) -> Result<void> {
      if (here == step && item >= 10) return Error(ErrorCode::kIo, std::to_string(item));
      return {};
    };
    const auto result = parallel_ordered(slots.size(), Job{progress, cancel, 3},
                                         {[&](size_t slot) -> Result<bool> {
                                            slots[slot] = taken++;
                                            SNAP_TRY(fails(0, slots[slot]));
                                            return true;
                                          },
                                          [&](size_t slot) { return fails(1, slots[slot]); },
                                          [&](size_t slot) {
                                            ++commits;
                                            return fails(2, slots[slot]);
                                          },
                                          [&](size_t slot) { return fails(3, slots[slot]); }});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(), "10");
    EXPECT_LE(commits.load(), step < 3 ? 11U : 10U + slots.size());
  }
}

TEST(ParallelOrdered, CancellationIsAnError) {
  Progress progress;
  Cancel cancel;
  const auto result = parallel_ordered(4, Job{progress, cancel, 2},
                                       {[](size_t) -> Result<bool> { return true; },
                                        [&](size_t) -> Result<void> {
                                          cancel.request();
                                          return {};
                                        },
                                        [](size_t) -> Result<void> { return {}; },
                                        {}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace snaptool
