// SPDX-License-Identifier: Apache-2.0
// A power cut at every instant of a merge of several stores: what the stack shows is unchanged, and
// the same merge ends with it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "libsnap/ops/merge.h"
#include "tests/support/crash.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kOriginBytes = 20 * 4096 + 512;

// What a merge is of: the origin, and stores from the lowest to the topmost.
using Stack = std::vector<File*>;
using Flattener = std::function<Result<void>(const Stack& stack)>;

struct FlattenCase {
  std::vector<Bytes> files;  // as a Stack
  uint64_t batch_bytes = 3 * 4096;
  std::vector<FlushFault> faults = {};  // of each file; none where it ends
  Flattener flattener;                  // flatten when empty
};

std::string file_name(size_t file) { return file == 0 ? "origin" : fmt::format("cow{}", file); }

Result<void> flatten(const Stack& stack, uint64_t batch_bytes) {
  TestContext context;
  ops::MergeRequest request;
  request.image = {raw_file("origin"), {raw_file("cow1")}, {}};
  for (size_t i = 0; i < stack.size(); ++i) {
    context.files.add(file_name(i), *stack[i]);
    if (i > 1) request.flatten.push_back(raw_file(file_name(i)));
  }
  request.options.batch_bytes = batch_bytes;
  request.options.accept_duplicates = true;
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(context.get(1), request));
  return job->run();
}

Bytes stack_view(const std::vector<Bytes>& files) {
  Bytes view = files[0];
  for (size_t i = 1; i < files.size(); ++i) view = NaiveStore::view_of(view, files[i]);
  return view;
}

// A stack of stores with these chunk sizes, each over about half of the origin.
FlattenCase make_stack(const std::vector<uint64_t>& chunk_bytes, std::mt19937_64& random) {
  FlattenCase one;
  one.files.push_back(random_bytes(kOriginBytes, random));
  for (const uint64_t size : chunk_bytes) {
    const uint64_t chunks = (kOriginBytes + size - 1) / size;
    const NaiveStore store =
        make_store({size, kOriginBytes, 1 + chunks / 2, random() % 2 == 0, false}, random);
    one.files.push_back(store.cow);
  }
  return one;
}

struct Visits {
  size_t exhaustive = scaled(64);
  size_t sampled = scaled(4);
  size_t resume_each = 4;  // every so many states are resumed
};

// Counts the crash states in which something is wrong; `complain` makes each a test failure.
size_t bad_states_of(const FlattenCase& one, std::mt19937_64& random, bool complain,
                     const Visits& effort = {}) {
  const Bytes view = stack_view(one.files);
  const Flattener flattener = one.flattener ? one.flattener : [&](const Stack& stack) {
    return flatten(stack, one.batch_bytes);
  };
  const auto run = [&](const std::vector<Bytes>& contents, WriteLog* log) {
    std::vector<std::unique_ptr<File>> files;
    Stack stack;
    for (size_t i = 0; i < contents.size(); ++i) {
      files.push_back(std::make_unique<MemoryFile>(file_name(i), contents[i]));
      stack.push_back(files.back().get());
      if (log == nullptr) continue;
      const auto fault = i < one.faults.size() ? one.faults[i] : FlushFault::kNone;
      files.push_back(std::make_unique<LoggedFile>(*stack.back(), *log, fault));
      stack.back() = files.back().get();
    }
    const auto done = flattener(stack);
    EXPECT_TRUE(done || !complain) << done.error().describe();
    std::vector<Bytes> ends;
    for (File* const file : stack) ends.push_back(content_of(*file));
    return ends;
  };
  size_t bad = 0;
  const auto judge = [&](bool good, size_t cut, const std::string& which, const char* what) {
    if (good) return;
    ++bad;
    if (complain) ADD_FAILURE() << what << " after " << cut << " events, " << which;
  };
  const auto is_end = [&](const std::vector<Bytes>& files) {
    for (size_t i = 1; i < files.size(); ++i) {
      if (!NaiveStore::read_entries(files[i]).empty()) return false;
    }
    return files[0] == view;
  };
  WriteLog log;
  judge(is_end(run(one.files, &log)), log.events().size(), "all done", "the end is wrong");
  size_t states = 0;
  log.visit_crash_states(effort.exhaustive, effort.sampled, random,
                         [&](const auto& files, size_t cut, const std::string& which) {
                           judge(stack_view(files) == view, cut, which, "the view changed");
                           if (++states % effort.resume_each != 0) return;
                           judge(is_end(run(files, nullptr)), cut, which, "resumed, it is wrong");
                         });
  log.visit_final_states(effort.exhaustive, effort.sampled, random,
                         [&](const auto& files, size_t cut, const std::string& which) {
                           judge(is_end(files), cut, which, "the end is not durable");
                         });
  EXPECT_GE(states, 1U);
  return bad;
}

TEST(FlattenCrash, EveryStateKeepsWhatTheStackShows) {
  std::mt19937_64 random(run_seed());
  const std::vector<std::vector<uint64_t>> stacks = {
      {4096, 4096}, {4096, 512}, {512, 4096}, {1024, 4096, 512}, {8192, 2048}};
  for (const auto& chunk_bytes : stacks) {
    SCOPED_TRACE(testing::Message() << "chunks of " << testing::PrintToString(chunk_bytes));
    EXPECT_EQ(bad_states_of(make_stack(chunk_bytes, random), random, true), 0U);
  }
}

// Each range of the origin is written once: what a store above has is not taken from one below.
TEST(FlattenCrash, WritesNothingTwice) {
  std::mt19937_64 random(run_seed() + 1);
  for (size_t n = 0; n < scaled(20); ++n) {
    const FlattenCase one = make_stack({4096, 1024, 512}, random);
    WriteLog log;
    MemoryFile origin("origin", one.files[0]);
    LoggedFile logged(origin, log);
    std::vector<std::unique_ptr<MemoryFile>> cows;
    Stack stack = {&logged};
    for (size_t i = 1; i < one.files.size(); ++i) {
      cows.push_back(std::make_unique<MemoryFile>(file_name(i), one.files[i]));
      stack.push_back(cows.back().get());
    }
    ASSERT_TRUE(flatten(stack, one.batch_bytes));
    std::vector<int> written(kOriginBytes);
    for (const auto& event : log.events()) {
      for (size_t i = 0; i < event.data.size(); ++i) ++written[event.offset + i];
    }
    EXPECT_LE(*std::max_element(written.begin(), written.end()), 1);
  }
}

TEST(FlattenCrash, MutantThatMergesTheTopmostFirstIsCaught) {
  std::mt19937_64 random(run_seed() + 2);
  FlattenCase one = make_stack({4096, 4096}, random);
  one.flattener = [](const Stack& stack) -> Result<void> {
    SNAP_TRY(flatten({stack[0], stack[2]}, kMiB));
    return flatten({stack[0], stack[1]}, kMiB);
  };
  EXPECT_GT(bad_states_of(one, random, false), 0U);
}

TEST(FlattenCrash, MutantsWithoutAFlushAreCaught) {
  std::mt19937_64 random(run_seed() + 3);
  for (size_t file = 0; file < 3; ++file) {
    FlattenCase one = make_stack({4096, 4096}, random);
    one.faults.resize(3, FlushFault::kNone);
    one.faults[file] = FlushFault::kSwallowed;
    EXPECT_GT(bad_states_of(one, random, false), 0U) << file_name(file);
  }
}

TEST(FlattenCrash, WhatItDoesNotGoWith) {
  std::mt19937_64 random(run_seed() + 4);
  const FlattenCase one = make_stack({4096, 4096, 4096}, random);
  TestContext context;
  std::vector<std::unique_ptr<MemoryFile>> files;
  for (size_t i = 0; i < one.files.size(); ++i) {
    files.push_back(std::make_unique<MemoryFile>(file_name(i), one.files[i]));
    context.files.add(file_name(i), *files.back());
  }
  ops::MergeRequest plain;
  plain.image = {raw_file("origin"), {raw_file("cow1")}, {}};
  plain.flatten = {raw_file("cow2")};
  std::vector<ops::MergeRequest> requests(4, plain);
  requests[0].siblings = {raw_file("cow3")};
  requests[1].undo_file = "undo";
  requests[2].options.salvage = true;
  requests[3].image.stores = {raw_file("cow3"), raw_file("cow1")};
  for (const auto& request : requests) {
    EXPECT_FALSE(ops::MergeJob::prepare(context.get(1), request));
  }
  EXPECT_TRUE(ops::MergeJob::prepare(context.get(1), plain));
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(content_of(*files[i]), one.files[i]);
  }
}

}  // namespace
}  // namespace snaptool::test
