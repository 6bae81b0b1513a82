// SPDX-License-Identifier: Apache-2.0
// The n-th operation of a merge fails, for every n: no false success, nothing cleared too early,
// resumable.
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <set>

#include "libsnap/ops/merge.h"
#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/merge/undo.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

using Kind = FileOperation::Kind;

// Says that it wrote, and does not, when told to lose a write.
class LosingFile : public File {
 public:
  LosingFile(File& inner, std::function<bool()> lose) : inner_(inner), lose_(std::move(lose)) {}
  const std::string& name() const override { return inner_.name(); }
  uint64_t size() const override { return inner_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return inner_.read_at(offset, out);
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override {
    if (lose_()) return {};
    return inner_.write_at(offset, data);
  }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override {
    return inner_.zero_at(offset, length, mode);
  }
  Result<void> resize(uint64_t size) override { return inner_.resize(size); }
  Result<void> flush() override { return inner_.flush(); }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_ASSIGN(Extent extent, inner_.extent_at(offset, limit));
    extent.file = this;
    return extent;
  }

 private:
  File& inner_;
  std::function<bool()> lose_;
};

struct Outcome {
  Result<void> result;
  int operations = 0;
};

// Merges with operation number `failing` (counted over both files) failing with `err`; none when
// negative.
Outcome merge_with_fault(File& origin, File& cow, int failing, int err) {
  Outcome outcome;
  bool failed = false;
  bool cleared_after = false;
  const auto judge_of = [&](bool is_cow) {
    return [&, is_cow](const FileOperation& operation) -> Result<void> {
      if (failed && is_cow && operation.kind != Kind::kRead) cleared_after = true;
      if (outcome.operations++ == failing) {
        failed = true;
        return Error::from_errno(err, "injected");
      }
      return {};
    };
  };
  FaultFile faulty_origin(origin, judge_of(false));
  FaultFile faulty_cow(cow, judge_of(true));
  const Cancel cancel;
  Progress progress;
  const Job job{progress, cancel, 1};
  MergeOptions options;
  options.batch_bytes = 16 * kKiB;
  auto merge = Merge::begin(faulty_origin, faulty_cow, options, job);
  outcome.result = merge ? (*merge)->run(job) : Result<void>(merge.error());
  if (merge && !outcome.result) {
    EXPECT_FALSE((*merge)->step(job)) << "a merge that failed must stay failed";
  }
  EXPECT_FALSE(cleared_after) << "the store was written to after operation " << failing
                              << " failed";
  return outcome;
}

TEST(MergeFault, EveryOperationFailingLeavesTheViewAndCanBeResumed) {
  std::mt19937_64 random(run_seed());
  const NaiveStore store = make_store({1024, 120 * 1024 + 512, 100, false, false}, random);
  const Bytes view = store.view();
  int operations = 0;
  {
    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);
    const Outcome clean = merge_with_fault(origin, cow, -1, 0);
    ASSERT_TRUE(clean.result);
    operations = clean.operations;
  }
  ASSERT_GT(operations, 50);
  for (const int err : {EIO, ENOSPC}) {
    for (int failing = 0; failing < operations; ++failing) {
      SCOPED_TRACE(testing::Message() << "operation " << failing << ", errno " << err);
      MemoryFile origin("origin", store.origin);
      MemoryFile cow("cow", store.cow);
      const Outcome outcome = merge_with_fault(origin, cow, failing, err);
      ASSERT_FALSE(outcome.result) << "an error was taken for success";
      EXPECT_EQ(outcome.result.error().sys_errno(), err);
      EXPECT_EQ(outcome.result.error().code(),
                err == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo);
      EXPECT_EQ(NaiveStore::view_of(content_of(origin), content_of(cow)), view);
      ASSERT_TRUE(merge_with_fault(origin, cow, -1, 0).result);
      Bytes end = content_of(origin);
      end.resize(view.size());
      EXPECT_EQ(end, view);
      EXPECT_TRUE(NaiveStore::read_entries(content_of(cow)).empty());
    }
  }
}

// A medium that does not keep what was written to it: the n-th write to the origin is lost.
TEST(MergeFault, VerifyFindsALostWriteBeforeAnythingIsCleared) {
  std::mt19937_64 random(run_seed() + 2);
  const NaiveStore store = make_store({1024, 60 * 1024, 50, false, false}, random);
  const Bytes view = store.view();
  const Cancel cancel;
  bool lost = true;
  for (int n = 0; lost; ++n) {
    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);
    lost = false;
    int writes = 0;
    LosingFile losing(origin, [&] {
      if (writes++ != n) return false;
      lost = true;
      return true;
    });
    Progress progress;
    const Job job{progress, cancel, 1};
    MergeOptions options;
    options.batch_bytes = 16 * kKiB;
    options.verify = true;
    auto merge = Merge::begin(losing, cow, options, job);
    ASSERT_TRUE(merge);
    const auto result = (*merge)->run(job);
    ASSERT_EQ(result.has_value(), !lost) << "write " << n;
    if (lost) {
      EXPECT_NE(result.error().describe().find("does not read back"), std::string::npos);
    }
    ASSERT_EQ(NaiveStore::view_of(content_of(origin), content_of(cow)), view) << "write " << n;
    ASSERT_LT(n, 1000);
  }
}

TEST(MergeFault, StoppedAtAnyMomentItIsSoundAndResumable) {
  std::mt19937_64 random(run_seed() + 1);
  const NaiveStore store = make_store({512, 200 * 512, 150, false, false}, random);
  const Bytes view = store.view();
  bool done = false;
  for (int stop_at = 0; !done; ++stop_at) {
    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);
    Cancel cancel;
    int operations = 0;
    const auto judge = [&](const FileOperation&) -> Result<void> {
      if (operations++ == stop_at) cancel.request();
      return {};
    };
    FaultFile watched_origin(origin, judge);
    FaultFile watched_cow(cow, judge);
    Progress progress;
    const Job job{progress, cancel, 1};
    MergeOptions options;
    options.batch_bytes = 16 * kKiB;
    auto merge = Merge::begin(watched_origin, watched_cow, options, job);
    const Result<void> result = merge ? (*merge)->run(job) : Result<void>(merge.error());
    done = result.has_value();
    if (!done) {
      EXPECT_EQ(result.error().code(), ErrorCode::kInterrupted);
    }
    ASSERT_EQ(NaiveStore::view_of(content_of(origin), content_of(cow)), view)
        << "stopped at " << stop_at;
    ASSERT_LT(stop_at, 100000);
  }
}

// Data chunks of the COW that cannot be read.
TEST(MergeFault, SalvageMergesAllButTheUnreadable) {
  std::mt19937_64 random(run_seed() + 8);
  for (int round = 0; round < 40; ++round) {
    const NaiveStore store = make_store({512, 200 * 512, 150, false, false}, random);
    const Bytes view = store.view();
    std::set<uint64_t> bad;  // data chunks
    const size_t count = random() % 5;
    while (bad.size() < count) bad.insert(store.entries[random() % store.entries.size()].second);
    size_t kept = 0;  // entries up to the last bad one
    Bytes expected = view;
    for (size_t i = 0; i < store.entries.size(); ++i) {
      const auto& [old_chunk, new_chunk] = store.entries[i];
      if (!bad.contains(new_chunk)) continue;
      kept = i + 1;
      const auto at = static_cast<ptrdiff_t>(old_chunk * 512);
      std::copy_n(store.origin.begin() + at, 512, expected.begin() + at);
    }

    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);
    MemoryFile journal("journal");
    FaultFile failing(cow, [&](const FileOperation& operation) -> Result<void> {
      if (operation.kind != Kind::kRead) return {};
      for (const uint64_t chunk : bad) {
        if (operation.offset < (chunk + 1) * 512 &&
            chunk * 512 < operation.offset + operation.length) {
          return Error::from_errno(EIO, "injected");
        }
      }
      return {};
    });
    const Cancel cancel;
    Progress progress;
    const Job job{progress, cancel, 1 + static_cast<unsigned>(random() % 3)};
    MergeOptions options;
    options.batch_bytes = 16 * kKiB;
    options.salvage = true;
    const bool with_undo = round % 2 == 0;
    {
      auto merge = Merge::begin(origin, failing, options, job);
      ASSERT_TRUE(merge);
      if (with_undo) {
        ASSERT_TRUE((*merge)->keep_undo(journal, job));
      }
      while ((*merge)->phase() != Merge::Phase::kDone) {
        const auto done = (*merge)->step(job);
        ASSERT_TRUE(done) << done.error().describe();
        ASSERT_EQ(NaiveStore::view_of(content_of(origin), content_of(cow)), view);
      }
      EXPECT_EQ((*merge)->unreadable_count(), bad.size());
      for (const auto& [entry, cause] : (*merge)->unreadable()) {
        EXPECT_TRUE(bad.contains(entry.new_chunk));
        EXPECT_NE(cause.find("injected"), std::string::npos);
      }
      EXPECT_EQ((*merge)->kept_exceptions(), kept);
    }
    EXPECT_EQ(content_of(origin), expected);
    EXPECT_EQ(NaiveStore::read_entries(content_of(cow)).size(), kept);

    // The medium can be read again: the rest is merged, and if kept, all can be taken back.
    if (kept > 0) {
      auto merge = Merge::begin(origin, cow, options, job);
      ASSERT_TRUE(merge);
      if (with_undo) {
        ASSERT_TRUE((*merge)->keep_undo(journal, job));
      }
      ASSERT_TRUE((*merge)->run(job));
      EXPECT_EQ((*merge)->unreadable_count(), 0U);
    }
    EXPECT_EQ(content_of(origin), view);
    EXPECT_TRUE(NaiveStore::read_entries(content_of(cow)).empty());
    if (with_undo) {
      const auto undo = Undo::begin(origin, cow, journal, job);
      ASSERT_TRUE(undo) << undo.error().describe();
      ASSERT_TRUE((*undo)->run(job));
      EXPECT_EQ(content_of(origin), store.origin);
      EXPECT_EQ(NaiveStore::read_entries(content_of(cow)), store.entries);
    }
  }
}

// A file system with little space left.
class FullFile : public MemoryFile {
 public:
  FullFile(const Bytes& content, uint64_t left) : MemoryFile("full", content), left_(left) {}
  std::optional<uint64_t> space_left() const override { return left_; }

 private:
  uint64_t left_;
};

TEST(MergeFault, HolesThatWillNotFitAreForeseen) {
  std::mt19937_64 random(run_seed() + 9);
  NaiveStore store = make_store({4096, 100 * 4096, 60, false, false}, random);
  // Every second chunk is a hole.
  Bytes sparse = store.origin;
  uint64_t needed = 0;
  for (uint64_t chunk = 0; chunk < 100; chunk += 2) {
    std::fill_n(sparse.begin() + static_cast<ptrdiff_t>(chunk * 4096), 4096, std::byte{0});
  }
  for (const auto& [old_chunk, new_chunk] : store.entries) needed += old_chunk % 2 == 0 ? 4096 : 0;
  const Cancel cancel;
  for (const uint64_t left : {needed - 1, needed}) {
    FullFile origin(sparse, left);
    for (uint64_t chunk = 0; chunk < 100; chunk += 2) {
      ASSERT_TRUE(origin.zero_at(chunk * 4096, 4096, ZeroMode::kPunch));
    }
    MemoryFile cow("cow", store.cow);
    Progress progress;
    const Job job{progress, cancel, 1};
    auto merge = Merge::begin(origin, cow, {}, job);
    ASSERT_EQ(merge.has_value(), left >= needed);
    if (!merge) {
      EXPECT_EQ(merge.error().code(), ErrorCode::kNoSpace);
    }
    MergeOptions force;
    force.ignore_space = true;
    EXPECT_TRUE(Merge::begin(origin, cow, force, job));

    FullFile journal({}, 60 * 4096 - 1);
    auto with_undo = Merge::begin(origin, cow, force, job);
    ASSERT_TRUE(with_undo);
    EXPECT_TRUE((*with_undo)->keep_undo(journal, job));
    if (!merge) continue;
    const auto refused = (*merge)->keep_undo(journal, job);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  }
}

TEST(MergeFault, HolesThatSeveralStoresFillAreCountedOnce) {
  std::mt19937_64 random(run_seed() + 10);
  const uint64_t size = 100 * 4096;
  const NaiveStore lower = make_store({4096, size, 60, false, false}, random);
  const NaiveStore upper = make_store({4096, size, 50, false, false}, random);
  std::set<uint64_t> chunks;
  for (const NaiveStore* const store : {&lower, &upper}) {
    for (const auto& [old_chunk, new_chunk] : store->entries) chunks.insert(old_chunk);
  }
  const uint64_t needed = chunks.size() * 4096;
  for (const uint64_t left : {needed - 1, needed}) {
    FullFile origin(Bytes(size), left);
    ASSERT_TRUE(origin.zero_at(0, size, ZeroMode::kPunch));
    MemoryFile lower_cow("lower", lower.cow);
    MemoryFile upper_cow("upper", upper.cow);
    TestContext context;
    context.files.add("origin", origin);
    context.files.add("lower", lower_cow);
    context.files.add("upper", upper_cow);
    ops::MergeRequest request;
    request.image = {raw_file("origin"), {raw_file("lower")}, {}};
    request.flatten = {raw_file("upper")};
    const auto job = ops::MergeJob::prepare(context.get(1), request);
    ASSERT_EQ(job.has_value(), left >= needed);
    if (!job) {
      EXPECT_EQ(job.error().code(), ErrorCode::kNoSpace);
    }
  }
}

}  // namespace
}  // namespace snaptool::test
