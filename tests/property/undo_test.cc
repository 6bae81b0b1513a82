// SPDX-License-Identifier: Apache-2.0
// Merges that keep an undo file, and their undoing: round trips, power cuts at every instant of
// both, failing operations, and files that were changed in between.
#include <gtest/gtest.h>

#include <algorithm>

#include "libsnap/ops/merge.h"
#include "libsnap/ops/undo.h"
#include "tests/support/crash.h"
#include "tests/support/fault_file.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

struct Sizes {
  uint64_t chunk_bytes;
  uint64_t origin_chunks;
  uint64_t exceptions;
  uint64_t extra;  // bytes of a part chunk at the origin's end
  uint64_t batch_bytes;
};
const std::vector<Sizes> kShapes = {
    {512, 80, 33, 100, kMiB},     // over an area's border
    {512, 120, 70, 0, 10 * 512},  // many batches
    {1024, 100, 64, 512, 7 * kKiB}, {4096, 40, 40, 512, 64 * kKiB}, {65536, 6, 5, 1024, 128 * kKiB},
};

NaiveStore store_of(const Sizes& sizes, std::mt19937_64& random) {
  return make_store({sizes.chunk_bytes, sizes.origin_chunks * sizes.chunk_bytes + sizes.extra,
                     sizes.exceptions, false, false},
                    random);
}

// Without an undo file nothing is kept.
Result<void> merge(File& origin, File& cow, File* journal, uint64_t batch_bytes) {
  TestContext context;
  context.files.add("origin", origin);
  context.files.add("cow", cow);
  ops::MergeRequest request;
  request.image = {raw_file("origin"), {raw_file("cow")}, {}};
  request.options.batch_bytes = batch_bytes;
  if (journal != nullptr) {
    context.files.add("journal", *journal);
    request.undo_file = "journal";
  }
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(context.get(), request));
  return job->run();
}

Result<void> merge_keeping_undo(File& origin, File& cow, File& journal, uint64_t batch_bytes) {
  return merge(origin, cow, &journal, batch_bytes);
}

Result<void> undo(File& origin, File& cow, File& journal) {
  TestContext context;
  context.files.add("origin", origin);
  context.files.add("cow", cow);
  context.files.add("journal", journal);
  ops::UndoRequest request;
  request.image = {raw_file("origin"), {raw_file("cow")}, {}};
  request.undo_file = "journal";
  SNAP_ASSIGN(const auto job, ops::UndoJob::prepare(context.get(), request));
  return job->run();
}

// The files are what they were before the merge.
testing::AssertionResult is_as_before(const NaiveStore& store, File& origin, File& cow) {
  if (content_of(origin) != store.origin) return testing::AssertionFailure() << "another origin";
  if (NaiveStore::read_entries(content_of(cow)) != store.entries) {
    return testing::AssertionFailure() << "other entries";
  }
  if (NaiveStore::view_of(store.origin, content_of(cow)) != store.view()) {
    return testing::AssertionFailure() << "another view";
  }
  return testing::AssertionSuccess();
}

// A journal in which nothing was written yet: then nothing else was, either.
bool is_blank(const Bytes& journal) {
  return std::all_of(journal.begin(), journal.end(), [](std::byte b) { return b == std::byte{0}; });
}

struct Three {
  MemoryFile origin;
  MemoryFile cow;
  MemoryFile journal;
  Three(const Bytes& o, const Bytes& c, const Bytes& j)
      : origin("origin", o), cow("cow", c), journal("journal", j) {}
  explicit Three(const NaiveStore& store) : Three(store.origin, store.cow, {}) {}
};

TEST(Undo, BringsBothFilesBack) {
  std::mt19937_64 random(run_seed());
  for (const Sizes& sizes : kShapes) {
    SCOPED_TRACE(testing::Message() << sizes.chunk_bytes << " " << sizes.exceptions);
    const NaiveStore store = store_of(sizes, random);
    Three files(store);
    ASSERT_TRUE(merge_keeping_undo(files.origin, files.cow, files.journal, sizes.batch_bytes));
    Bytes merged = content_of(files.origin);
    merged.resize(store.view().size());
    ASSERT_EQ(merged, store.view());
    const auto undone = undo(files.origin, files.cow, files.journal);
    ASSERT_TRUE(undone) << undone.error().describe();
    EXPECT_TRUE(is_as_before(store, files.origin, files.cow));
  }
}

// Power cuts while merging; returns the number of states from which it could not be undone.
size_t count_bad_states_of_merge(const Sizes& sizes, std::mt19937_64& random, bool swallow_flush,
                                 bool complain) {
  const NaiveStore store = store_of(sizes, random);
  const Bytes view = store.view();
  Three files(store);
  WriteLog log;
  LoggedFile origin(files.origin, log);
  LoggedFile cow(files.cow, log);
  LoggedFile journal(files.journal, log, swallowed_if(swallow_flush));
  EXPECT_TRUE(merge_keeping_undo(origin, cow, journal, sizes.batch_bytes));
  size_t bad = 0;
  size_t states = 0;
  const auto judge = [&](testing::AssertionResult good, size_t cut, const std::string& which) {
    if (good) return;
    ++bad;
    if (complain) ADD_FAILURE() << good.message() << " after " << cut << " events, " << which;
  };
  log.visit_crash_states(
      scaled(64), scaled(6), random, [&](const auto& after, size_t cut, const std::string& which) {
        judge(testing::AssertionResult(NaiveStore::view_of(after[0], after[1]) == view)
                  << "the view changed",
              cut, which);
        Three found(after[0], after[1], after[2]);
        if (++states % 2 == 0) {
          // The merge is resumed first.
          const auto resumed =
              merge_keeping_undo(found.origin, found.cow, found.journal, sizes.batch_bytes);
          if (!resumed && resumed.error().code() == ErrorCode::kWrongBase &&
              NaiveStore::read_entries(after[1]).empty()) {
            // It was done; only the undo file is still needed below.
          } else if (!resumed) {
            judge(testing::AssertionFailure() << resumed.error().describe(), cut, which);
            return;
          }
        }
        if (is_blank(content_of(found.journal))) {
          judge(is_as_before(store, found.origin, found.cow), cut, which);
          return;
        }
        const auto undone = undo(found.origin, found.cow, found.journal);
        if (!undone) {
          judge(testing::AssertionFailure() << undone.error().describe(), cut, which);
          return;
        }
        judge(is_as_before(store, found.origin, found.cow), cut, which);
      });
  EXPECT_GT(states, log.events().size());
  return bad;
}

TEST(Undo, WorksFromEveryCrashOfTheMerge) {
  std::mt19937_64 random(run_seed() + 1);
  for (const Sizes& sizes : kShapes) {
    SCOPED_TRACE(testing::Message() << sizes.chunk_bytes << " " << sizes.exceptions);
    EXPECT_EQ(count_bad_states_of_merge(sizes, random, false, true), 0U);
  }
}

TEST(Undo, MutantWithoutTheJournalsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 2);
  EXPECT_GT(count_bad_states_of_merge(kShapes[1], random, true, false), 0U);
}

// Power cuts while undoing a merge that was stopped after `phases` phases (or is done).
size_t count_bad_states_of_undo(const Sizes& sizes, size_t phases, std::mt19937_64& random,
                                bool swallow_cow_flush, bool complain) {
  const NaiveStore store = store_of(sizes, random);
  const Bytes view = store.view();
  Three files(store);
  {
    Progress progress;
    const Cancel cancel;
    const Job job{progress, cancel, 1};
    MergeOptions options;
    options.batch_bytes = sizes.batch_bytes;
    auto begun = Merge::begin(files.origin, files.cow, options, job);
    EXPECT_TRUE(begun);
    EXPECT_TRUE((*begun)->keep_undo(files.journal, job));
    for (size_t n = 0; n < phases && (*begun)->phase() != Merge::Phase::kDone; ++n) {
      EXPECT_TRUE((*begun)->step(job));
    }
  }
  WriteLog log;
  LoggedFile origin(files.origin, log);
  LoggedFile cow(files.cow, log, swallowed_if(swallow_cow_flush));
  LoggedFile journal(files.journal, log);
  const auto done = undo(origin, cow, journal);
  EXPECT_TRUE(done) << done.error().describe();
  size_t bad = 0;
  size_t states = 0;
  const auto judge = [&](testing::AssertionResult good, size_t cut, const std::string& which) {
    if (good) return;
    ++bad;
    if (complain) ADD_FAILURE() << good.message() << " after " << cut << " events, " << which;
  };
  log.visit_crash_states(
      scaled(64), scaled(6), random, [&](const auto& after, size_t cut, const std::string& which) {
        judge(testing::AssertionResult(NaiveStore::view_of(after[0], after[1]) == view)
                  << "the view changed",
              cut, which);
        Three found(after[0], after[1], after[2]);
        if (++states % 2 == 0) {  // merged on instead, or by the kernel: without the undo file
          const bool merged = merge(found.origin, found.cow, nullptr, 256 * kMiB).has_value();
          judge(testing::AssertionResult(merged) << "the merge cannot go on", cut, which);
          if (!merged) return;
          Bytes end = content_of(found.origin);
          end.resize(view.size());
          judge(testing::AssertionResult(end == view) << "the merge ended wrong", cut, which);
          return;
        }
        const auto undone = undo(found.origin, found.cow, found.journal);
        if (!undone) {
          judge(testing::AssertionFailure() << undone.error().describe(), cut, which);
          return;
        }
        judge(is_as_before(store, found.origin, found.cow), cut, which);
      });
  log.visit_final_states(scaled(64), scaled(6), random,
                         [&](const auto& after, size_t cut, const std::string& which) {
                           Three found(after[0], after[1], after[2]);
                           judge(is_as_before(store, found.origin, found.cow), cut, which);
                         });
  return bad;
}

TEST(Undo, IsItselfCrashSafe) {
  std::mt19937_64 random(run_seed() + 3);
  for (const Sizes& sizes : kShapes) {
    for (const size_t phases : {3UL, 4UL, 6UL, 8UL, 1000UL}) {
      SCOPED_TRACE(testing::Message()
                   << sizes.chunk_bytes << " " << sizes.exceptions << ", " << phases << " phases");
      EXPECT_EQ(count_bad_states_of_undo(sizes, phases, random, false, true), 0U);
    }
  }
}

TEST(Undo, MutantWithoutTheCowsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 4);
  EXPECT_GT(count_bad_states_of_undo(kShapes[1], 1000, random, true, false), 0U);
}

// Each operation on any of the three files fails once: the view stays, and it can be undone.
TEST(Undo, EveryOperationOfTheMergeFailing) {
  std::mt19937_64 random(run_seed() + 5);
  const Sizes sizes{1024, 60, 40, 0, 16 * kKiB};
  const NaiveStore store = store_of(sizes, random);
  bool reached = true;
  for (int failing = 0; reached; ++failing) {
    SCOPED_TRACE(testing::Message() << "operation " << failing);
    Three files(store);
    int operations = 0;
    reached = false;
    const auto judge = [&](const FileOperation&) -> Result<void> {
      if (operations++ != failing) return {};
      reached = true;
      return Error::from_errno(failing % 2 == 0 ? EIO : ENOSPC, "injected");
    };
    FaultFile origin(files.origin, judge);
    FaultFile cow(files.cow, judge);
    FaultFile journal(files.journal, judge);
    const auto merged = merge_keeping_undo(origin, cow, journal, sizes.batch_bytes);
    ASSERT_EQ(merged.has_value(), !reached) << "an error was taken for success";
    ASSERT_EQ(NaiveStore::view_of(content_of(files.origin), content_of(files.cow)), store.view());
    if (is_blank(content_of(files.journal))) {
      ASSERT_TRUE(is_as_before(store, files.origin, files.cow));
      continue;
    }
    const auto undone = undo(files.origin, files.cow, files.journal);
    ASSERT_TRUE(undone) << undone.error().describe();
    ASSERT_TRUE(is_as_before(store, files.origin, files.cow));
    ASSERT_LT(failing, 10000);
  }
}

// Whatever single thing was changed after the merge, the undoing says so and writes nothing.
TEST(Undo, RefusesWhatWasChangedSince) {
  std::mt19937_64 random(run_seed() + 6);
  const Sizes sizes{4096, 600, 70, 0, 64 * kKiB};
  const NaiveStore store = store_of(sizes, random);
  Three merged(store);
  ASSERT_TRUE(merge_keeping_undo(merged.origin, merged.cow, merged.journal, sizes.batch_bytes));
  const auto refused = [&](const char* what, auto change) {
    Three files(content_of(merged.origin), content_of(merged.cow), content_of(merged.journal));
    change(files);
    const Bytes origin = content_of(files.origin);
    const Bytes cow = content_of(files.cow);
    const auto undone = undo(files.origin, files.cow, files.journal);
    ASSERT_FALSE(undone) << what;
    EXPECT_TRUE(undone.error().code() == ErrorCode::kWrongBase ||
                undone.error().code() == ErrorCode::kCorruption)
        << what << ": " << undone.error().describe();
    EXPECT_EQ(content_of(files.origin), origin) << what;
    EXPECT_EQ(content_of(files.cow), cow) << what;
  };
  const auto flip = [](File& file, uint64_t offset) {
    std::array<std::byte, 1> byte{};
    ASSERT_TRUE(file.read_at(offset, byte));
    byte[0] ^= std::byte{1};
    ASSERT_TRUE(file.write_at(offset, byte));
  };
  for (const auto& [old_chunk, new_chunk] : store.entries) {
    refused("a merged chunk",
            [&, at = old_chunk * 4096 + random() % 4096](Three& files) { flip(files.origin, at); });
  }
  refused("the first sector", [&](Three& files) { flip(files.origin, 0); });
  refused("the last byte", [&](Three& files) { flip(files.origin, store.origin.size() - 1); });
  refused("a new exception", [&](Three& files) { flip(files.cow, 4096 + 8); });
  refused("an entry behind the end", [&](Three& files) { flip(files.cow, 4096 + 16 * 30); });
  refused("invalidated", [&](Three& files) { flip(files.cow, 4); });
  refused("no store any more", [&](Three& files) { flip(files.cow, 0); });
  refused("a larger origin",
          [&](Three& files) { ASSERT_TRUE(files.origin.resize(store.origin.size() + 4096)); });
  refused("a larger COW",
          [&](Three& files) { ASSERT_TRUE(files.cow.resize(store.cow.size() + 4096)); });
  // Every sector of the undo file, except the padding, counts.
  refused("the undo file's header", [&](Three& files) { flip(files.journal, 20); });
  refused("a record of the undo file", [&](Three& files) { flip(files.journal, 4096 + 40); });
  refused("a table of the undo file", [&](Three& files) { flip(files.journal, 8192 + 33); });
  const Bytes journal = content_of(merged.journal);
  const auto old_bytes =
      std::search(journal.begin(), journal.end(), store.origin.begin(), store.origin.begin() + 64);
  if (old_bytes != journal.end()) {
    refused("old bytes in the undo file", [&](Three& files) {
      flip(files.journal, static_cast<uint64_t>(old_bytes - journal.begin()));
    });
  }
}

TEST(Undo, AJournalOfAnotherMergeIsNotContinued) {
  std::mt19937_64 random(run_seed() + 7);
  const NaiveStore first = store_of(kShapes[3], random);
  const NaiveStore second = store_of(kShapes[3], random);
  Three files(first);
  ASSERT_TRUE(merge_keeping_undo(files.origin, files.cow, files.journal, kMiB));
  const Bytes finished = content_of(files.journal);
  Three others(second.origin, second.cow, finished);
  const auto refused = merge_keeping_undo(others.origin, others.cow, others.journal, kMiB);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kWrongBase);
  EXPECT_EQ(content_of(others.origin), second.origin);
  EXPECT_EQ(content_of(others.cow), second.cow);
  EXPECT_EQ(content_of(others.journal), finished);
}

}  // namespace
}  // namespace snaptool::test
