// SPDX-License-Identifier: Apache-2.0
// Writes to snapshots and origins: against a naive model, cut anywhere, with failing files, and as
// mutants that the crash harness must catch.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "libsnap/io/content_file.h"
#include "libsnap/ops/session.h"
#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/store/create.h"
#include "libsnap/snap/store/verify.h"
#include "tests/support/crash.h"
#include "tests/support/fault_file.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kSector = 512;
const Cancel g_no_cancel;

// What everything shows: the origin, then the view of each snapshot.
using Contents = std::vector<Bytes>;

struct Request {
  enum class Kind { kWrite, kWriteOrigin, kFlush };
  Kind kind = Kind::kWrite;
  size_t snapshot = 0;
  uint64_t offset = 0;
  Bytes data;
};

struct Scenario {
  Bytes origin;
  std::vector<Bytes> cows;
  std::vector<Request> requests;
  uint64_t in_flight = 64 * kMiB;
  bool may_invalidate = false;
};

// Passes on what a judge lets through, and drops the rest without a word: a mutant's file.
class DroppingFile : public File {
 public:
  enum class Kind { kWrite, kFlush };
  using Drops = std::function<bool(Kind, uint64_t offset, std::span<const std::byte>)>;
  DroppingFile(File& inner, Drops drops) : inner_(inner), drops_(std::move(drops)) {}
  const std::string& name() const override { return inner_.name(); }
  uint64_t size() const override { return inner_.size(); }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    return inner_.read_at(offset, out);
  }
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override {
    if (drops_ && drops_(Kind::kWrite, offset, data)) return {};
    return inner_.write_at(offset, data);
  }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode /*mode*/) override {
    return write_at(offset, Bytes(length));
  }
  Result<void> resize(uint64_t size) override { return inner_.resize(size); }
  Result<void> flush() override {
    if (drops_ && drops_(Kind::kFlush, 0, {})) return {};
    return inner_.flush();
  }
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override {
    SNAP_ASSIGN(Extent extent, inner_.extent_at(offset, limit));
    extent.file = this;
    return extent;
  }

 private:
  File& inner_;
  Drops drops_;
};

// Does the requests to files through `wrap`, which may record, fail or drop what is done.
using AfterRequest = std::function<void(size_t request, const Result<void>& result)>;
void run_requests(const Scenario& scenario, File& origin, const std::vector<File*>& cows,
                  const AfterRequest& after) {
  TestContext context;
  context.policy.force = true;
  context.files.add("origin", origin);
  std::vector<ops::Session::Member> members;
  for (size_t i = 0; i < cows.size(); ++i) {
    const std::string name = std::to_string(i);
    context.files.add(name, *cows[i]);
    members.push_back({name, raw_file(name), StoreKind::kPersistent, {}});
  }
  const auto prepared = ops::Session::prepare(context.get(), {raw_file("origin"), {}, {}}, members,
                                              scenario.in_flight);
  if (!prepared) return after(0, prepared.error());
  ops::Session& session = **prepared;
  for (size_t i = 0; i < scenario.requests.size(); ++i) {
    const Request& request = scenario.requests[i];
    switch (request.kind) {
      case Request::Kind::kWrite:
        after(i, session.write(std::to_string(request.snapshot), request.offset, request.data));
        break;
      case Request::Kind::kWriteOrigin:
        after(i, session.write_origin(request.offset, request.data));
        break;
      case Request::Kind::kFlush:
        after(i, session.flush());
        break;
    }
  }
}

// Each snapshot's store is sound and shows this; an invalid one shows nothing.
std::optional<Contents> contents_of(const Bytes& origin, const std::vector<Bytes>& cows,
                                    bool may_be_invalid, std::string& complaint) {
  Contents contents = {origin};
  for (const Bytes& bytes : cows) {
    MemoryFile cow("cow", bytes);
    const auto report = verify_store(cow, origin.size(), g_no_cancel);
    if (!report) {
      complaint = report.error().describe();
      return std::nullopt;
    }
    if (may_be_invalid && report->count(DefectCode::kInvalid) > 0) {
      contents.emplace_back();
      continue;
    }
    if (const Finding* reason = report->reason_not_to_merge(false)) {
      complaint = "the store is not sound: " + reason->message;
      return std::nullopt;
    }
    try {
      contents.push_back(NaiveStore::view_of(origin, bytes));
    } catch (const std::out_of_range&) {
      complaint = "the list leads out of the file";
      return std::nullopt;
    }
  }
  return contents;
}

// The naive truth: what everything shows after each request. Index 0 is the beginning.
std::vector<Contents> model_of(const Scenario& scenario) {
  std::string complaint;
  std::vector<Contents> history = {*contents_of(scenario.origin, scenario.cows, false, complaint)};
  for (const Request& request : scenario.requests) {
    Contents next = history.back();
    if (request.kind != Request::Kind::kFlush) {
      Bytes& target =
          request.kind == Request::Kind::kWriteOrigin ? next[0] : next[1 + request.snapshot];
      std::copy(request.data.begin(), request.data.end(),
                target.begin() + static_cast<ptrdiff_t>(request.offset));
    }
    history.push_back(std::move(next));
  }
  return history;
}

// Whether each sector is what it was when it was last acknowledged, or what a later request made of
// it.
bool is_between(const Contents& seen, const std::vector<Contents>& history, size_t acknowledged,
                std::string& complaint) {
  for (size_t image = 0; image < seen.size(); ++image) {
    if (seen[image].empty()) continue;  // invalid
    for (uint64_t at = 0; at < seen[image].size(); at += kSector) {
      const auto length = static_cast<ptrdiff_t>(std::min(kSector, seen[image].size() - at));
      const auto sector = seen[image].begin() + static_cast<ptrdiff_t>(at);
      const bool known =
          std::any_of(history.begin() + static_cast<ptrdiff_t>(acknowledged), history.end(),
                      [&](const Contents& then) {
                        return std::equal(sector, sector + length,
                                          then[image].begin() + static_cast<ptrdiff_t>(at));
                      });
      if (known) continue;
      complaint = (image == 0 ? std::string("the origin") : "view " + std::to_string(image - 1)) +
                  " has something else in sector " + std::to_string(at / kSector);
      return false;
    }
  }
  return true;
}

// The snapshots can be written to again, and then show what they did with that laid over it.
bool goes_on(const Scenario& scenario, const Bytes& origin, const std::vector<Bytes>& cows,
             const Contents& seen, std::mt19937_64& random, std::string& complaint) {
  Scenario next;
  next.origin = origin;
  next.cows = cows;
  Contents expected = seen;
  for (size_t i = 0; i < cows.size(); ++i) {
    if (seen[1 + i].empty()) return true;  // invalid: nothing goes on
    // Over an area's border wherever the list ends, as far as there is room.
    const uint64_t length = std::min<uint64_t>(40 * 512, origin.size() / 512 * 512);
    next.requests.push_back({Request::Kind::kWrite, i, 0, random_bytes(length, random)});
    std::copy(next.requests.back().data.begin(), next.requests.back().data.end(),
              expected[1 + i].begin());
  }
  next.requests.push_back({Request::Kind::kFlush, 0, 0, {}});
  next.in_flight = scenario.in_flight;
  MemoryFile origin_file("origin", origin);
  std::vector<std::unique_ptr<MemoryFile>> files;
  std::vector<File*> cow_files;
  for (const Bytes& cow : cows) {
    files.push_back(std::make_unique<MemoryFile>("cow", cow));
    cow_files.push_back(files.back().get());
  }
  bool done = true;
  run_requests(next, origin_file, cow_files, [&](size_t, const Result<void>& result) {
    if (result) return;
    done = false;
    complaint = result.error().describe();
  });
  if (!done) return false;
  std::vector<Bytes> after;
  for (const auto& file : files) after.push_back(content_of(*file));
  const auto shown = contents_of(origin, after, false, complaint);
  if (!shown) return false;
  if (*shown != expected) complaint = "written to again, it shows something else";
  return *shown == expected;
}

struct Mutation {
  DroppingFile::Drops drops_of_origin;
  std::function<DroppingFile::Drops(uint64_t chunk_bytes)> drops_of_cow;
};

size_t count_bad_states(const Scenario& scenario, std::mt19937_64& random, bool complain,
                        const Mutation& mutation = {}) {
  const std::vector<Contents> history = model_of(scenario);
  WriteLog log;
  MemoryFile origin("origin", scenario.origin);
  LoggedFile logged_origin(origin, log);
  DroppingFile mutated_origin(logged_origin, mutation.drops_of_origin);
  std::vector<std::unique_ptr<File>> keep;
  std::vector<File*> cows;
  for (const Bytes& bytes : scenario.cows) {
    uint64_t chunk_bytes = 0;
    for (int i = 3; i >= 0; --i) {
      chunk_bytes = chunk_bytes << 8 | static_cast<uint64_t>(bytes[12 + static_cast<size_t>(i)]);
    }
    keep.push_back(std::make_unique<MemoryFile>("cow", bytes));
    keep.push_back(std::make_unique<LoggedFile>(*keep.back(), log));
    keep.push_back(std::make_unique<DroppingFile>(
        *keep.back(), mutation.drops_of_cow ? mutation.drops_of_cow(chunk_bytes * kSector)
                                            : DroppingFile::Drops()));
    cows.push_back(keep.back().get());
  }
  // (events, request) of each acknowledgement: what was written before it is durable.
  std::vector<std::pair<size_t, size_t>> acknowledged = {{0, 0}};
  run_requests(scenario, mutated_origin, cows, [&](size_t request, const Result<void>& result) {
    EXPECT_TRUE(result) << result.error().describe();
    if (scenario.requests[request].kind == Request::Kind::kFlush) {
      acknowledged.emplace_back(log.events().size(), request + 1);
    }
  });

  size_t bad = 0;
  size_t states = 0;
  // A mutant is hunted with full effort always.
  log.visit_crash_states(
      complain ? scaled(32) : 64, complain ? scaled(4) : 8, random,
      [&](const std::vector<Bytes>& files, size_t cut, const std::string& which) {
        ++states;
        const auto last = std::prev(
            std::find_if(acknowledged.begin(), acknowledged.end(),
                         [&](const auto& acknowledgement) { return acknowledgement.first > cut; }));
        const std::vector<Bytes> cow_bytes(files.begin() + 1, files.end());
        std::string complaint;
        const auto seen = contents_of(files[0], cow_bytes, scenario.may_invalidate, complaint);
        const bool good = seen && is_between(*seen, history, last->second, complaint) &&
                          (states % 8 != 0 || scenario.may_invalidate ||
                           goes_on(scenario, files[0], cow_bytes, *seen, random, complaint));
        if (good) return;
        ++bad;
        if (complain) ADD_FAILURE() << complaint << " after " << cut << " events, " << which;
      });
  EXPECT_GE(states, 1U);
  return bad;
}

// A store with so many exceptions already, and room for the whole origin behind them.
Bytes store_over(const Bytes& origin, uint64_t chunk_bytes, uint64_t exceptions,
                 std::mt19937_64& random) {
  NaiveStore store = make_store({chunk_bytes, origin.size(), exceptions, true, false}, random);
  const uint64_t chunks = origin.size() / chunk_bytes + 1;
  const uint64_t room = (chunks + chunks / store.per_area() + 3) * chunk_bytes;
  const Bytes junk = random_bytes(room, random);
  store.cow.insert(store.cow.end(), junk.begin(), junk.end());
  store.cow.resize(store.cow.size() / 512 * 512);
  return store.cow;
}

Request random_write(const Scenario& scenario, std::mt19937_64& random) {
  const uint64_t sectors = scenario.origin.size() / kSector;
  const uint64_t length = 1 + random() % std::min<uint64_t>(sectors, 1 + random() % 60);
  const uint64_t at = random() % (sectors - length + 1);
  return {random() % 2 == 0 ? Request::Kind::kWrite : Request::Kind::kWriteOrigin,
          random() % scenario.cows.size(), at * kSector, random_bytes(length * kSector, random)};
}

Scenario random_scenario(std::mt19937_64& random) {
  Scenario scenario;
  scenario.origin = random_bytes((40 + random() % 120) * kSector + random() % 2 * 100, random);
  const size_t snapshots = 1 + random() % 3;
  for (size_t i = 0; i < snapshots; ++i) {
    const uint64_t chunk_bytes = kSector << random() % 4;
    const uint64_t chunks = scenario.origin.size() / chunk_bytes;
    scenario.cows.push_back(
        store_over(scenario.origin, chunk_bytes, random() % (chunks / 2 + 1), random));
  }
  const size_t count = 3 + random() % 6;
  for (size_t i = 0; i < count; ++i) {
    scenario.requests.push_back(random_write(scenario, random));
    if (random() % 3 == 0) scenario.requests.push_back({Request::Kind::kFlush, 0, 0, {}});
  }
  scenario.requests.push_back({Request::Kind::kFlush, 0, 0, {}});
  scenario.in_flight = random() % 2 == 0 ? 64 * kMiB : 8 * kKiB;
  return scenario;
}

TEST(Write, ShowsWhatTheModelShows) {
  std::mt19937_64 random(run_seed() + 40);
  for (int n = 0; n < case_count(300); ++n) {
    const Scenario scenario = random_scenario(random);
    MemoryFile origin("origin", scenario.origin);
    std::vector<std::unique_ptr<MemoryFile>> files;
    std::vector<File*> cows;
    for (const Bytes& cow : scenario.cows) {
      files.push_back(std::make_unique<MemoryFile>("cow", cow));
      cows.push_back(files.back().get());
    }
    run_requests(scenario, origin, cows, [](size_t, const Result<void>& result) {
      EXPECT_TRUE(result) << result.error().describe();
    });
    std::vector<Bytes> after;
    for (const auto& file : files) after.push_back(content_of(*file));
    std::string complaint;
    const auto shown = contents_of(content_of(origin), after, false, complaint);
    ASSERT_TRUE(shown) << complaint;
    // The naive view leaves out a part sector at the origin's end.
    EXPECT_EQ(*shown, model_of(scenario).back());
  }
}

TEST(WriteCrash, EveryStateIsSound) {
  std::mt19937_64 random(run_seed() + 41);
  for (size_t n = 0; n < scaled(8); ++n) {
    const Scenario scenario = random_scenario(random);
    SCOPED_TRACE(testing::Message() << "scenario " << n);
    EXPECT_EQ(count_bad_states(scenario, random, true), 0U);
  }
}

// Chunks of a sector, and a list that ends just before an area's border.
Scenario at_the_border(std::mt19937_64& random, size_t snapshots = 1) {
  Scenario scenario;
  scenario.origin = random_bytes(90 * kSector, random);
  for (size_t i = 0; i < snapshots; ++i) {
    scenario.cows.push_back(store_over(scenario.origin, 512, 30 - i, random));
  }
  return scenario;
}

TEST(WriteCrash, OverTheBordersOfAreas) {
  std::mt19937_64 random(run_seed() + 42);
  for (const uint64_t chunks : {1, 2, 3, 34, 40, 60}) {
    Scenario scenario = at_the_border(random);
    scenario.requests = {{Request::Kind::kWrite, 0, 0, random_bytes(chunks * kSector, random)},
                         {Request::Kind::kFlush, 0, 0, {}}};
    EXPECT_EQ(count_bad_states(scenario, random, true), 0U) << chunks << " chunks";
    scenario = at_the_border(random, 2);
    scenario.requests = {
        {Request::Kind::kWriteOrigin, 0, kSector, random_bytes(chunks * kSector, random)},
        {Request::Kind::kFlush, 0, 0, {}}};
    EXPECT_EQ(count_bad_states(scenario, random, true), 0U) << chunks << " chunks of the origin";
  }
}

TEST(WriteCrash, ASnapshotThatIsInvalidatedIsSoBeforeTheOriginChanges) {
  std::mt19937_64 random(run_seed() + 43);
  for (const uint64_t spare : {0, 5, 34}) {
    Scenario scenario = at_the_border(random);
    // Cut behind the last data chunk that there is, and so many more.
    const auto entries = NaiveStore::read_entries(scenario.cows[0]);
    uint64_t last = 1;
    for (const auto& [old_chunk, new_chunk] : entries) last = std::max(last, new_chunk);
    scenario.cows[0].resize((last + 1 + spare) * kSector);
    scenario.may_invalidate = true;
    scenario.requests = {{Request::Kind::kWriteOrigin, 0, 0, random_bytes(90 * kSector, random)},
                         {Request::Kind::kFlush, 0, 0, {}}};
    EXPECT_EQ(count_bad_states(scenario, random, true), 0U) << spare << " spare chunks";
  }
}

// Mutants: what the harness must catch.

Scenario mutants_scenario(std::mt19937_64& random, Request::Kind kind, uint64_t chunks = 40) {
  Scenario scenario = at_the_border(random);
  scenario.requests = {{kind, 0, 0, random_bytes(chunks * kSector, random)},
                       {Request::Kind::kFlush, 0, 0, {}}};
  return scenario;
}

bool is_area(uint64_t offset, uint64_t chunk_bytes) {
  return offset / chunk_bytes % (chunk_bytes / 16 + 1) == 1;
}

TEST(WriteCrash, MutantWithoutTheBarrierBeforeTheAreaIsCaught) {
  std::mt19937_64 random(run_seed() + 44);
  Mutation mutation;
  mutation.drops_of_cow = [](uint64_t chunk_bytes) {
    return [chunk_bytes, data = false](DroppingFile::Kind kind, uint64_t offset,
                                       std::span<const std::byte>) mutable {
      if (kind == DroppingFile::Kind::kWrite) {
        data |= !is_area(offset, chunk_bytes);
        return false;
      }
      return std::exchange(data, false);
    };
  };
  for (const auto kind : {Request::Kind::kWrite, Request::Kind::kWriteOrigin}) {
    EXPECT_GT(count_bad_states(mutants_scenario(random, kind, 12), random, false, mutation), 0U);
  }
}

TEST(WriteCrash, MutantThatDoesNotZeroTheNextAreaIsCaught) {
  std::mt19937_64 random(run_seed() + 45);
  Mutation mutation;
  mutation.drops_of_cow = [](uint64_t chunk_bytes) {
    return [chunk_bytes](DroppingFile::Kind kind, uint64_t offset,
                         std::span<const std::byte> data) {
      return kind == DroppingFile::Kind::kWrite && is_area(offset, chunk_bytes) &&
             std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; });
    };
  };
  for (const auto kind : {Request::Kind::kWrite, Request::Kind::kWriteOrigin}) {
    EXPECT_GT(count_bad_states(mutants_scenario(random, kind), random, false, mutation), 0U);
  }
}

TEST(WriteCrash, MutantThatSwallowsTheSnapshotsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 46);
  Mutation mutation;
  mutation.drops_of_cow = [](uint64_t) {
    return [](DroppingFile::Kind kind, uint64_t, std::span<const std::byte>) {
      return kind == DroppingFile::Kind::kFlush;
    };
  };
  for (const auto kind : {Request::Kind::kWrite, Request::Kind::kWriteOrigin}) {
    EXPECT_GT(count_bad_states(mutants_scenario(random, kind), random, false, mutation), 0U);
  }
}

TEST(WriteCrash, MutantThatSwallowsTheOriginsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 47);
  Mutation mutation;
  mutation.drops_of_origin = [](DroppingFile::Kind kind, uint64_t, std::span<const std::byte>) {
    return kind == DroppingFile::Kind::kFlush;
  };
  const Scenario scenario = mutants_scenario(random, Request::Kind::kWriteOrigin);
  EXPECT_GT(count_bad_states(scenario, random, false, mutation), 0U);
}

// Copies out, but only when the origin's write is on its way already: the right data, too late.
TEST(WriteCrash, MutantThatCopiesOutAfterTheOriginsWriteIsCaught) {
  std::mt19937_64 random(run_seed() + 48);
  const Scenario scenario = mutants_scenario(random, Request::Kind::kWriteOrigin);
  const std::vector<Contents> history = model_of(scenario);
  MemoryFile origin("origin", scenario.origin);
  MemoryFile before("before", scenario.origin);
  MemoryFile cow("cow", scenario.cows[0]);
  WriteLog log;
  LoggedFile logged_origin(origin, log);
  LoggedFile logged_cow(cow, log);
  const Request& request = scenario.requests[0];
  ASSERT_TRUE(logged_origin.write_at(request.offset, request.data));
  TestContext context;
  context.files.add("before", before);
  context.files.add("0", logged_cow);
  const auto session = ops::Session::prepare(context.get(), {raw_file("before"), {}, {}},
                                             {{"0", raw_file("0"), StoreKind::kPersistent, {}}});
  ASSERT_TRUE(session);
  ASSERT_TRUE((*session)->write_origin(request.offset, request.data));
  ASSERT_TRUE(logged_origin.flush());
  size_t bad = 0;
  log.visit_crash_states(64, 8, random,
                         [&](const std::vector<Bytes>& files, size_t, const std::string&) {
                           std::string complaint;
                           const auto seen = contents_of(files[0], {files[1]}, false, complaint);
                           if (!seen || !is_between(*seen, history, 0, complaint)) ++bad;
                         });
  EXPECT_GT(bad, 0U);
}

// Stacks: a store is merged into a view.

Result<void> merge_into_view(File& origin, File& lower_cow, File& upper_cow) {
  RawImage image(origin, origin.size());
  SnapshotOptions options;
  options.discard_tail = true;
  SNAP_ASSIGN(const auto lower, Snapshot::open(image, lower_cow, options, g_no_cancel));
  ContentFile view(*lower, Access::kReadWrite);
  Progress progress;
  const Job job{progress, g_no_cancel, 1};
  MergeOptions merge_options;
  merge_options.batch_bytes = 20 * kSector;
  SNAP_ASSIGN(const auto merge, Merge::begin(view, upper_cow, merge_options, job));
  return merge->run(job);
}

// Counts the states after a cut that do not show what they must, or (of every eighth) do not end as
// they must when what was cut is done again.
using StateCheck = std::function<bool(const std::vector<Bytes>& files)>;
size_t count_bad_cuts(const WriteLog& log, std::mt19937_64& random, bool complain,
                      const StateCheck& shows, const StateCheck& resumes) {
  size_t bad = 0;
  size_t states = 0;
  log.visit_crash_states(
      complain ? scaled(32) : 64, complain ? scaled(6) : 8, random,
      [&](const std::vector<Bytes>& files, size_t cut, const std::string& which) {
        bool good = false;
        try {
          good = shows(files);
        } catch (const std::out_of_range&) {
        }
        if (good && ++states % 8 == 0) good = resumes(files);
        if (good) return;
        ++bad;
        if (complain) ADD_FAILURE() << "wrong after " << cut << " events, " << which;
      });
  return bad;
}

size_t count_bad_stack_states(std::mt19937_64& random, bool swallow_lower_flush, bool complain) {
  const Bytes origin_bytes = random_bytes(80 * kSector, random);
  const Bytes lower_bytes = store_over(origin_bytes, 512, 25, random);
  const Bytes upper_bytes = store_over(origin_bytes, 1024, 30, random);
  const auto stack_view = [](const Bytes& origin, const Bytes& lower, const Bytes& upper) {
    return NaiveStore::view_of(NaiveStore::view_of(origin, lower), upper);
  };
  const Bytes view = stack_view(origin_bytes, lower_bytes, upper_bytes);
  MemoryFile origin("origin", origin_bytes);
  MemoryFile lower("lower", lower_bytes);
  MemoryFile upper("upper", upper_bytes);
  WriteLog log;
  LoggedFile logged_lower(lower, log, swallowed_if(swallow_lower_flush));
  LoggedFile logged_upper(upper, log);
  const auto merged = merge_into_view(origin, logged_lower, logged_upper);
  EXPECT_TRUE(merged) << merged.error().describe();
  EXPECT_EQ(content_of(origin), origin_bytes);
  return count_bad_cuts(
      log, random, complain,
      [&](const std::vector<Bytes>& files) {
        return stack_view(origin_bytes, files[0], files[1]) == view;
      },
      [&](const std::vector<Bytes>& files) {
        MemoryFile resumed_lower("lower", files[0]);
        MemoryFile resumed_upper("upper", files[1]);
        return merge_into_view(origin, resumed_lower, resumed_upper).has_value() &&
               NaiveStore::view_of(origin_bytes, content_of(resumed_lower)) == view &&
               NaiveStore::read_entries(content_of(resumed_upper)).empty();
      });
}

TEST(StackCrash, MergingIntoAViewKeepsTheViewOfAll) {
  std::mt19937_64 random(run_seed() + 52);
  EXPECT_EQ(count_bad_stack_states(random, false, true), 0U);
}

TEST(StackCrash, MutantThatSwallowsTheLowerFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 53);
  EXPECT_GT(count_bad_stack_states(random, true, false), 0U);
}

// A merge with a sibling: another snapshot of the same origin, which keeps its view.

Result<void> merge_with_sibling(File& origin, File& cow, File& sibling_cow) {
  RawImage image(origin, origin.size());
  SnapshotOptions options;
  options.discard_tail = true;  // what a torn commit left
  SNAP_ASSIGN(const auto sibling, Snapshot::open(image, sibling_cow, options, g_no_cancel));
  Progress progress;
  const Job job{progress, g_no_cancel, 1};
  MergeOptions merge_options;
  merge_options.batch_bytes = 20 * kSector;
  SNAP_ASSIGN(const auto merge, Merge::begin(origin, cow, merge_options, job));
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(g_no_cancel));
  Origin parent(image, 16 * kSector);
  parent.add(*sibling);
  SNAP_TRY(parent.copy_out_for_merge(store, g_no_cancel));
  SNAP_TRY(sibling->flush());
  return merge->run(job);
}

size_t count_bad_sibling_states(std::mt19937_64& random, bool swallow_siblings_flush,
                                bool complain) {
  const Bytes origin_bytes = random_bytes(80 * kSector, random);
  const Bytes cow_bytes = store_over(origin_bytes, 512, 25, random);
  const Bytes sibling_bytes = store_over(origin_bytes, 1024, 10, random);
  const Bytes view = NaiveStore::view_of(origin_bytes, cow_bytes);
  const Bytes sibling_view = NaiveStore::view_of(origin_bytes, sibling_bytes);
  MemoryFile origin("origin", origin_bytes);
  MemoryFile cow("cow", cow_bytes);
  MemoryFile sibling("sibling", sibling_bytes);
  WriteLog log;
  LoggedFile logged_origin(origin, log);
  LoggedFile logged_cow(cow, log);
  LoggedFile logged_sibling(sibling, log, swallowed_if(swallow_siblings_flush));
  const auto merged = merge_with_sibling(logged_origin, logged_cow, logged_sibling);
  EXPECT_TRUE(merged) << merged.error().describe();
  EXPECT_EQ(content_of(origin), view);
  EXPECT_EQ(NaiveStore::view_of(content_of(origin), content_of(sibling)), sibling_view);
  return count_bad_cuts(
      log, random, complain,
      [&](const std::vector<Bytes>& files) {
        return NaiveStore::view_of(files[0], files[1]) == view &&
               NaiveStore::view_of(files[0], files[2]) == sibling_view;
      },
      [&](const std::vector<Bytes>& files) {
        MemoryFile resumed_origin("origin", files[0]);
        MemoryFile resumed_cow("cow", files[1]);
        MemoryFile resumed_sibling("sibling", files[2]);
        return merge_with_sibling(resumed_origin, resumed_cow, resumed_sibling).has_value() &&
               content_of(resumed_origin) == view &&
               NaiveStore::view_of(view, content_of(resumed_sibling)) == sibling_view;
      });
}

TEST(SiblingCrash, AMergeKeepsBothViews) {
  std::mt19937_64 random(run_seed() + 54);
  EXPECT_EQ(count_bad_sibling_states(random, false, true), 0U);
}

TEST(SiblingCrash, MutantThatSwallowsTheSiblingsFlushIsCaught) {
  std::mt19937_64 random(run_seed() + 55);
  EXPECT_GT(count_bad_sibling_states(random, true, false), 0U);
}

// Creating.

using Creator = std::function<Result<void>(File& cow, const Layout& layout)>;

size_t count_bad_creations(const Bytes& initial, const Creator& create, std::mt19937_64& random,
                           bool complain) {
  MemoryFile cow("cow", initial);
  WriteLog log;
  LoggedFile logged(cow, log);
  EXPECT_TRUE(create(logged, Layout(8)));
  size_t bad = 0;
  const auto judge = [&](const Bytes& bytes, bool done, const std::string& which) {
    const bool untouched = bytes == initial;
    const bool no_store = std::all_of(bytes.begin(), bytes.begin() + 4,
                                      [](std::byte b) { return b == std::byte{0}; });
    bool empty_store = false;
    MemoryFile file("cow", bytes);
    const auto report = verify_store(file, std::nullopt, g_no_cancel);
    if (!no_store && report && report->result() == Severity::kNote) {
      empty_store = NaiveStore::read_entries(bytes).empty() && bytes[12] == std::byte{8};
    }
    if (done ? empty_store : untouched || no_store || empty_store) return;
    ++bad;
    if (complain) ADD_FAILURE() << "neither as it was nor a new store, " << which;
  };
  log.visit_crash_states(600, 32, random,
                         [&](const std::vector<Bytes>& files, size_t, const std::string& which) {
                           judge(files[0], false, which);
                         });
  log.visit_final_states(600, 32, random,
                         [&](const std::vector<Bytes>& files, size_t, const std::string& which) {
                           judge(files[0], true, which);
                         });
  return bad;
}

std::vector<Bytes> places_for_a_store(std::mt19937_64& random) {
  const Bytes origin = random_bytes(256 * kKiB, random);
  return {Bytes(5 * 4096), random_bytes(5 * 4096, random), store_over(origin, 4096, 60, random),
          store_over(origin, 512, 40, random)};
}

TEST(CreateCrash, EveryStateIsNoStoreOrTheNewOne) {
  std::mt19937_64 random(run_seed() + 49);
  for (const Bytes& place : places_for_a_store(random)) {
    EXPECT_EQ(count_bad_creations(place, create_store, random, true), 0U);
  }
}

TEST(CreateCrash, MutantsAreCaught) {
  std::mt19937_64 random(run_seed() + 50);
  const auto header = [](const Layout& layout) {
    Bytes sector(kSector);
    encode_header({kSnapMagic, 1, 1, static_cast<uint32_t>(layout.chunk_sectors())},
                  std::span(sector).first<kDiskHeaderSize>());
    return sector;
  };
  const Creator header_before_area = [&](File& cow, const Layout& layout) -> Result<void> {
    SNAP_TRY(cow.write_at(0, header(layout)));
    SNAP_TRY(cow.flush());
    SNAP_TRY(cow.write_at(layout.chunk_bytes(), Bytes(layout.chunk_bytes())));
    return cow.flush();
  };
  const Creator without_barriers = [&](File& cow, const Layout& layout) -> Result<void> {
    SNAP_TRY(cow.write_at(layout.chunk_bytes(), Bytes(layout.chunk_bytes())));
    SNAP_TRY(cow.write_at(0, header(layout)));
    return cow.flush();
  };
  const Creator old_header_kept = [&](File& cow, const Layout& layout) -> Result<void> {
    SNAP_TRY(cow.write_at(layout.chunk_bytes(), Bytes(layout.chunk_bytes())));
    SNAP_TRY(cow.flush());
    SNAP_TRY(cow.write_at(0, header(layout)));
    return cow.flush();
  };
  const auto places = places_for_a_store(random);
  EXPECT_GT(count_bad_creations(places[1], header_before_area, random, false), 0U);
  EXPECT_GT(count_bad_creations(places[1], without_barriers, random, false), 0U);
  // An old store whose areas are half gone is the trap for this one.
  EXPECT_GT(count_bad_creations(places[2], old_header_kept, random, false), 0U);
}

// Failing files.

TEST(WriteFault, NoFalseSuccessWhereverItFails) {
  std::mt19937_64 random(run_seed() + 51);
  for (size_t n = 0; n < scaled(20); ++n) {
    const Scenario scenario = random_scenario(random);
    const std::vector<Contents> history = model_of(scenario);
    for (uint64_t failing = 0;; failing += 1 + random() % 3) {
      MemoryFile origin("origin", scenario.origin);
      uint64_t operations = 0;
      bool failed = false;
      const bool space = random() % 2 == 0;
      // Once it has failed it works again, so that only what was remembered stops what follows.
      const FaultFile::Judge judge = [&](const FileOperation& operation) -> Result<void> {
        if (operation.kind == FileOperation::Kind::kRead && space) return {};
        if (operations++ != failing) return {};
        failed = true;
        return Error::from_errno(space ? ENOSPC : EIO, "injected");
      };
      FaultFile faulty_origin(origin, judge);
      std::vector<std::unique_ptr<File>> keep;
      std::vector<std::unique_ptr<FaultFile>> faulty;
      std::vector<File*> cows;
      for (const Bytes& cow : scenario.cows) {
        keep.push_back(std::make_unique<MemoryFile>("cow", cow));
        faulty.push_back(std::make_unique<FaultFile>(*keep.back(), judge));
        cows.push_back(faulty.back().get());
      }
      size_t acknowledged = 0;
      bool reported = false;
      run_requests(scenario, faulty_origin, cows, [&](size_t request, const Result<void>& result) {
        if (!result) reported = true;
        const bool flushed = scenario.requests[request].kind == Request::Kind::kFlush;
        // What was acknowledged before the failure must be kept; after it, nothing may be.
        if (flushed && result && !reported) acknowledged = request + 1;
      });
      EXPECT_EQ(reported, failed);
      std::vector<Bytes> after;
      for (const auto& file : keep) after.push_back(content_of(*file));
      std::string complaint;
      const auto seen = contents_of(content_of(origin), after, false, complaint);
      ASSERT_TRUE(seen) << complaint << ", operation " << failing;
      EXPECT_TRUE(is_between(*seen, history, acknowledged, complaint))
          << complaint << ", operation " << failing;
      if (!failed) break;
    }
  }
}

}  // namespace
}  // namespace snaptool::test
