// SPDX-License-Identifier: Apache-2.0
// A flush fails, or the process is killed there, and the same command runs again: when that says
// that it is done, the medium alone has it; and at no instant does a power cut take what must hold.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "libsnap/diff/export.h"
#include "libsnap/diff/snapdiff.h"
#include "libsnap/ops/apply.h"
#include "libsnap/ops/merge.h"
#include "libsnap/ops/session.h"
#include "libsnap/ops/store.h"
#include "libsnap/ops/undo.h"
#include "libsnap/ops/write.h"
#include "tests/support/cached_disk.h"
#include "tests/support/seed.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

using Trouble = CachedDisk::Trouble;
// What the files of a trial have, in its order.
using Contents = std::vector<Bytes>;
// Nothing where all is right, else what is not.
using Judge = std::function<std::string(const Contents&)>;

struct Trial {
  std::string name;
  struct Named {
    std::string name;
    Bytes content;
    FileKind kind = FileKind::kOther;
  };
  std::vector<Named> files;
  std::function<Result<void>(const access::Context&)> run;
  Judge holds;  // at every instant
  Judge done;   // after a run that said so
  // After a power cut it cannot know whether entries past the end of a list are of its own.
  bool may_ask = false;
};

struct Mutant {
  bool skips_clean_flushes = false;
  bool reads_the_cache = false;
};

// What is wrong in any state that a list leads out of is wrong in all.
std::string judge(const Judge& judge, const Contents& contents) {
  if (!judge) return {};
  try {
    return judge(contents);
  } catch (const std::out_of_range&) {
    return "a list leads out of its file";
  }
}

// The files of a trial, and processes that run it, one after the other.
class Machine {
 public:
  Machine(const Trial& trial, const Mutant& mutant, uint64_t seed) : trial_(trial), disk_(seed) {
    disk_.skips_clean_flushes = mutant.skips_clean_flushes;
    disk_.reads_the_cache = mutant.reads_the_cache;
    for (const Trial::Named& file : trial.files) {
      files_.push_back(&disk_.add(file.name, file.content));
    }
    if (trial.holds)
      disk_.watcher = [this] {
        if (!complaint_.empty()) return;
        complaint_ = judge(trial_.holds, disk_.cut());
        if (!complaint_.empty()) complaint_ = "at a power cut: " + complaint_;
      };
  }

  Result<void> run(Trouble trouble, size_t flush, bool force = false) {
    disk_.begin_process(trouble, flush);
    TestContext context;
    context.policy.force = force;
    for (size_t i = 0; i < files_.size(); ++i) {
      context.files.add(trial_.files[i].name, *files_[i], trial_.files[i].kind);
    }
    auto result = trial_.run(context.get());
    const bool ended_early = disk_.had_trouble() && trouble != Trouble::kFailedFlush;
    if (result && !ended_early && complaint_.empty())
      complaint_ = judge(trial_.done, disk_.media());
    return result;
  }
  const CachedDisk& disk() const { return disk_; }
  // The first thing that was wrong.
  const std::string& complaint() const { return complaint_; }

 private:
  const Trial& trial_;
  CachedDisk disk_;
  std::vector<File*> files_;
  std::string complaint_;
};

// Returns how many of the retries went wrong; `complain` makes each a test failure.
size_t count_wrong(const Trial& trial, const Mutant& mutant, bool complain) {
  size_t wrong = 0;
  const auto blame = [&](const std::string& what) {
    ++wrong;
    if (complain) ADD_FAILURE() << trial.name << ": " << what;
  };
  Machine calm(trial, mutant, run_seed());
  if (const auto result = calm.run(Trouble::kNone, 0); !result) {
    ADD_FAILURE() << trial.name << ": undisturbed: " << result.error().describe();
    return 1;
  }
  if (!calm.complaint().empty()) blame("undisturbed: " + calm.complaint());
  const size_t flushes = calm.disk().flushes();
  EXPECT_GT(flushes, 0U) << trial.name;
  for (const Trouble trouble : {Trouble::kFailedFlush, Trouble::kKill, Trouble::kPowerCut}) {
    // A mutant is to be caught at any; else each flush has its turn, in one run or another.
    const size_t tries = complain ? scaled(40) : 6 * flushes;
    for (size_t n = 0; n < tries && (complain || wrong == 0); ++n) {
      const size_t flush = (run_seed() + n * flushes / std::min(tries, flushes)) % flushes;
      Machine machine(trial, mutant, run_seed() + n);
      (void)machine.run(trouble, flush);
      // A second time, sometimes.
      if (n % 3 == 2) (void)machine.run(trouble, n % (flushes + 1));
      auto again = machine.run(Trouble::kNone, 0);
      if (!again && trial.may_ask && again.error().remedy() == Remedy::kDropTail) {
        again = machine.run(Trouble::kNone, 0, true);
      }
      const std::string_view what = trouble == Trouble::kKill       ? "killed"
                                    : trouble == Trouble::kPowerCut ? "power cut"
                                                                    : "failed";
      const auto where =
          fmt::format("{} at flush {} of {} (case {}), then again: ", what, flush, flushes, n);
      if (!again) blame(where + again.error().describe());
      if (!machine.complaint().empty()) blame(where + machine.complaint());
    }
  }
  return wrong;
}

// ---- what must hold

std::string is_equal(const Bytes& found, const Bytes& wanted, const std::string& what) {
  if (found == wanted) return {};
  const auto at =
      std::mismatch(found.begin(), found.begin() + std::min(found.size(), wanted.size()),
                    wanted.begin())
          .first;
  return fmt::format("{} is wrong at byte {} of {}", what, at - found.begin(), found.size());
}

// Each sector is the old one or the new one.
std::string is_between(const Bytes& found, const Bytes& before, const Bytes& after,
                       const std::string& what) {
  for (size_t at = 0; at < found.size(); at += 512) {
    const size_t size = std::min<size_t>(512, found.size() - at);
    const auto is = [&](const Bytes& other) {
      return other.size() == found.size() && std::memcmp(&found[at], &other[at], size) == 0;
    };
    if (!is(before) && !is(after)) return fmt::format("{} is neither at byte {}", what, at);
  }
  return {};
}

Bytes cut_to(Bytes bytes, size_t size) {
  bytes.resize(size);
  return bytes;
}

Bytes with(Bytes image, uint64_t offset, const Bytes& data) {
  std::copy(data.begin(), data.end(), image.begin() + static_cast<ptrdiff_t>(offset));
  return image;
}

// ---- stores

// With room for all of its origin.
NaiveStore store_with_room(const StoreShape& shape, std::mt19937_64& random) {
  NaiveStore store = make_store(shape, random);
  const uint64_t chunks = shape.origin_bytes / shape.chunk_bytes + 2;
  const uint64_t areas = 2 + 2 * chunks / store.per_area();
  const size_t size = store.cow.size() / shape.chunk_bytes * shape.chunk_bytes;
  store.cow.resize(size);
  const Bytes more = random_bytes((chunks + areas) * shape.chunk_bytes, random);
  store.cow.insert(store.cow.end(), more.begin(), more.end());
  return store;
}

// Another snapshot of the same origin.
NaiveStore sibling_of(const NaiveStore& store, uint64_t chunk_bytes, uint64_t exceptions,
                      std::mt19937_64& random) {
  NaiveStore sibling =
      store_with_room({chunk_bytes, store.origin.size(), exceptions, false, false}, random);
  sibling.origin = store.origin;
  return sibling;
}

class BytesSource : public ops::DataSource {
 public:
  explicit BytesSource(Bytes bytes) : bytes_(std::move(bytes)) {}
  const std::string& name() const override { return name_; }
  std::optional<FileId> id() const override { return std::nullopt; }
  unsigned permissions() const override { return 0600; }
  std::optional<uint64_t> length() const override { return bytes_.size(); }
  Result<uint64_t> read(std::span<std::byte> out) override {
    const size_t size = std::min(out.size(), bytes_.size() - at_);
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at_), size, out.begin());
    at_ += size;
    return size;
  }
  bool can_rewind() const override { return true; }
  Result<void> rewind() override {
    at_ = 0;
    return {};
  }

 private:
  std::string name_ = "data";
  Bytes bytes_;
  size_t at_ = 0;
};

access::ImageSpec image_of(const std::vector<std::string>& names) {
  access::ImageSpec image;
  image.base = raw_file(names.front());
  for (size_t i = 1; i < names.size(); ++i) image.stores.push_back(raw_file(names[i]));
  return image;
}

// ---- trials

Result<void> run_merge(const access::Context& context, const std::vector<std::string>& image,
                       const std::vector<std::string>& siblings,
                       const std::optional<std::string>& undo_file, uint64_t batch_bytes) {
  ops::MergeRequest request;
  request.image = image_of(image);
  for (const std::string& sibling : siblings) request.siblings.push_back(raw_file(sibling));
  request.undo_file = undo_file;
  request.options.batch_bytes = batch_bytes;
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(context, request));
  return job->run();
}

Result<void> run_undo(const access::Context& context) {
  ops::UndoRequest request;
  request.image = image_of({"origin", "cow"});
  request.undo_file = "undo";
  SNAP_ASSIGN(const auto job, ops::UndoJob::prepare(context, request));
  return job->run();
}

std::string is_merged(const Bytes& origin, const Bytes& cow, const Bytes& view) {
  if (!NaiveStore::read_entries(cow).empty()) return "entries are left";
  return is_equal(cut_to(origin, view.size()), view, "the origin");
}

Trial merge_trial(std::mt19937_64& random) {
  const NaiveStore store = make_store({512, 90 * 512, 40, false, false}, random);
  const Bytes view = store.view();
  return {"merge",
          {{"origin", store.origin}, {"cow", store.cow}},
          [](const access::Context& context) {
            return run_merge(context, {"origin", "cow"}, {}, {}, 8 * kKiB);
          },
          [view](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), view, "the view");
          },
          [view](const Contents& now) { return is_merged(now[0], now[1], view); }};
}

Trial undo_file_trial(std::mt19937_64& random) {
  Trial trial = merge_trial(random);
  trial.name = "merge --undo";
  trial.files.push_back({"undo", {}});
  trial.run = [](const access::Context& context) {
    return run_merge(context, {"origin", "cow"}, {}, "undo", 8 * kKiB);
  };
  const Bytes before = trial.files[0].content;
  trial.done = [merged = trial.done, before](const Contents& now) -> std::string {
    if (auto wrong = merged(now); !wrong.empty()) return wrong;
    if (now[2].empty()) return "there is no undo file";
    MemoryFile origin("origin", now[0]);
    MemoryFile cow("cow", now[1]);
    MemoryFile undo("undo", now[2]);
    TestContext context;
    context.files.add("origin", origin);
    context.files.add("cow", cow);
    context.files.add("undo", undo);
    if (const auto undone = run_undo(context.get()); !undone) return undone.error().describe();
    return is_equal(content_of(origin), before, "the origin, taken back,");
  };
  return trial;
}

Trial sibling_trial(std::mt19937_64& random) {
  Trial trial = merge_trial(random);
  trial.name = "merge --sibling";
  NaiveStore store;
  store.origin = trial.files[0].content;
  const NaiveStore sibling = sibling_of(store, 1024, 7, random);
  trial.files.push_back({"sibling", sibling.cow});
  trial.run = [](const access::Context& context) {
    return run_merge(context, {"origin", "cow"}, {"sibling"}, {}, 8 * kKiB);
  };
  trial.holds = [held = trial.holds, view = sibling.view()](const Contents& now) {
    const auto wrong = held(now);
    if (!wrong.empty()) return wrong;
    return is_equal(NaiveStore::view_of(now[0], now[2]), view, "the sibling's view");
  };
  return trial;
}

Trial stack_trial(std::mt19937_64& random) {
  // Entries of one commit lie in several sectors.
  const NaiveStore lower = store_with_room({2048, 120 * 2048, 13, false, false}, random);
  NaiveStore upper = make_store({512, 480 * 512, 200, false, false}, random);
  upper.origin = lower.view();
  const Bytes view = upper.view();
  return {"merge A@C1 C2",
          {{"origin", lower.origin}, {"lower", lower.cow}, {"upper", upper.cow}},
          [](const access::Context& context) {
            return run_merge(context, {"origin", "lower", "upper"}, {}, {}, 40 * kKiB);
          },
          [view](const Contents& now) {
            return is_equal(NaiveStore::view_of(NaiveStore::view_of(now[0], now[1]), now[2]), view,
                            "the view");
          },
          [view](const Contents& now) {
            return is_merged(NaiveStore::view_of(now[0], now[1]), now[2], view);
          }};
}

Trial undo_trial(std::mt19937_64& random) {
  const NaiveStore store = make_store({512, 90 * 512, 40, false, false}, random);
  MemoryFile origin("origin", store.origin);
  MemoryFile cow("cow", store.cow);
  MemoryFile undo("undo");
  TestContext context;
  context.files.add("origin", origin);
  context.files.add("cow", cow);
  context.files.add("undo", undo);
  EXPECT_TRUE(run_merge(context.get(), {"origin", "cow"}, {}, "undo", 8 * kKiB));
  return {"undo",
          {{"origin", content_of(origin)}, {"cow", content_of(cow)}, {"undo", content_of(undo)}},
          run_undo,
          [view = store.view()](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), view, "the view");
          },
          [store](const Contents& now) -> std::string {
            if (NaiveStore::read_entries(now[1]) != store.entries) return "other entries";
            return is_equal(now[0], store.origin, "the origin");
          }};
}

Result<void> run_write(const access::Context& context, uint64_t offset, const Bytes& data,
                       bool skip_equal) {
  BytesSource source(data);
  ops::WriteRequest request{image_of({"origin", "cow"}), {source, offset}, {}, skip_equal, true};
  request.options.in_flight = 4 * kKiB;
  SNAP_ASSIGN(const auto job, ops::WriteJob::prepare(context, request));
  return job->run();
}

Trial write_trial(bool skip_equal, std::mt19937_64& random) {
  const NaiveStore store = store_with_room({512, 90 * 512, 25, false, false}, random);
  const Bytes before = store.view();
  constexpr uint64_t kOffset = 5 * 512;
  Bytes data = random_bytes(60 * 512, random);
  // A part of it is there already.
  std::copy_n(before.begin() + kOffset + 20 * 512, 20 * 512, data.begin() + 20 * 512);
  const Bytes after = with(before, kOffset, data);
  return {skip_equal ? "write --skip-equal" : "write",
          {{"origin", store.origin}, {"cow", store.cow}},
          [data, skip_equal](const access::Context& context) {
            return run_write(context, kOffset, data, skip_equal);
          },
          [before, after](const Contents& now) {
            return is_between(NaiveStore::view_of(now[0], now[1]), before, after, "the view");
          },
          [after](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), after, "the view");
          },
          true};
}

// `below`: what is written to is a view itself.
Trial write_origin_trial(bool below, std::mt19937_64& random) {
  const NaiveStore lower = store_with_room({512, 90 * 512, 20, false, false}, random);
  NaiveStore base;
  base.origin = below ? lower.view() : lower.origin;
  const NaiveStore one = sibling_of(base, 512, 10, random);
  const NaiveStore two = sibling_of(base, 2048, 3, random);
  const Bytes data = random_bytes(50 * 512, random);
  constexpr uint64_t kOffset = 7 * 512;
  const Bytes after = with(base.origin, kOffset, data);
  const auto origin_in = [below](const Contents& now) {
    return below ? NaiveStore::view_of(now[0], now[1]) : now[0];
  };
  return {below ? "write-origin to a view" : "write-origin",
          {{"origin", lower.origin}, {"cow", lower.cow}, {"one", one.cow}, {"two", two.cow}},
          [=](const access::Context& context) -> Result<void> {
            BytesSource source(data);
            ops::OriginWriteRequest request{
                image_of(below ? std::vector<std::string>{"origin", "cow"}
                               : std::vector<std::string>{"origin"}),
                {raw_file("one"), raw_file("two")},
                {source, kOffset},
                {},
                false};
            request.options.in_flight = 8 * kKiB;
            SNAP_ASSIGN(const auto job, ops::OriginWriteJob::prepare(context, request));
            return job->run();
          },
          [=, view_one = one.view(), view_two = two.view()](const Contents& now) -> std::string {
            const Bytes origin = origin_in(now);
            auto wrong = is_equal(NaiveStore::view_of(origin, now[2]), view_one, "a view");
            if (!wrong.empty()) return wrong;
            return is_equal(NaiveStore::view_of(origin, now[3]), view_two, "the other view");
          },
          [=](const Contents& now) { return is_equal(origin_in(now), after, "the origin"); },
          below};
}

Trial discard_trial(std::mt19937_64& random) {
  const NaiveStore store = make_store({1024, 90 * 1024, 45, false, false}, random);
  const Bytes before = store.view();
  constexpr uint64_t kFrom = 9 * 512;
  constexpr uint64_t kTo = 131 * 512;
  Bytes after = before;
  for (const auto& [old_chunk, new_chunk] : store.entries) {
    for (uint64_t at = old_chunk * 1024; at < (old_chunk + 1) * 1024; ++at) {
      if (at >= kFrom && at < kTo) after[at] = std::byte{0};
    }
  }
  return {"discard",
          {{"origin", store.origin}, {"cow", store.cow}},
          [](const access::Context& context) -> Result<void> {
            ops::DiscardRequest request{image_of({"origin", "cow"}), kFrom, kTo - kFrom, {}, {}};
            request.discard.zeroes_cow = true;
            SNAP_TRY(ops::discard(context, request));
            return {};
          },
          [before, after](const Contents& now) {
            return is_between(NaiveStore::view_of(now[0], now[1]), before, after, "the view");
          },
          [after](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), after, "the view");
          }};
}

// A write to a snapshot, one to the origin, and the snapshot's merge.
Trial session_trial(std::mt19937_64& random) {
  const NaiveStore store = store_with_room({512, 90 * 512, 20, false, false}, random);
  const NaiveStore other = sibling_of(store, 1024, 5, random);
  const Bytes data = random_bytes(30 * 512, random);
  const Bytes to_origin = random_bytes(20 * 512, random);
  const Bytes before = store.view();
  const Bytes after = with(before, 512, data);
  return {
      "batch",
      {{"origin", store.origin}, {"cow", store.cow}, {"other", other.cow}},
      [=](const access::Context& context) -> Result<void> {
        SNAP_ASSIGN(const auto session,
                    ops::Session::prepare(context, image_of({"origin"}),
                                          {{"a", raw_file("cow"), StoreKind::kPersistent, {}},
                                           {"b", raw_file("other"), StoreKind::kPersistent, {}}},
                                          4 * kKiB));
        SNAP_TRY(session->write("a", 512, data));
        SNAP_TRY(session->write_origin(40 * 512, to_origin));
        SNAP_TRY(session->merge("a"));
        return session->flush();
      },
      [before, after, view = other.view()](const Contents& now) {
        const auto wrong = is_equal(NaiveStore::view_of(now[0], now[2]), view, "the other view");
        if (!wrong.empty()) return wrong;
        return is_between(NaiveStore::view_of(now[0], now[1]), before, after, "the view");
      },
      [after](const Contents& now) { return is_merged(now[0], now[1], after); },
      true};
}

Trial resize_trial(std::mt19937_64& random) {
  const NaiveStore store = make_store({512, 90 * 512, 20, false, false}, random);
  uint64_t chunks = store.cow.size() / 512 + 40;
  if (chunks % 33 == 1) ++chunks;  // it would be the last of an area that none can follow
  const uint64_t size = chunks * 512;
  return {"resize",
          {{"origin", store.origin}, {"cow", store.cow, FileKind::kRegular}},
          [size](const access::Context& context) -> Result<void> {
            SNAP_TRY(ops::resize(context, raw_file("cow"), {size, false}));
            return {};
          },
          [view = store.view()](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), view, "the view");
          },
          [size](const Contents& now) {
            return now[1].size() == size ? std::string() : std::string("another size");
          }};
}

Bytes exported(const Bytes& base, const Bytes& target) {
  Bytes stream;
  SnapdiffWriter writer(
      [&stream](std::span<const std::byte> bytes) -> Result<void> {
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        return {};
      },
      1);
  MemoryFile base_file("base", base);
  MemoryFile target_file("target", target);
  RawImage base_image(base_file, base.size());
  RawImage target_image(target_file, target.size());
  Progress progress;
  const Cancel cancel;
  EXPECT_TRUE(export_changes(&base_image, target_image, writer, {}, {progress, cancel, 1}));
  return stream;
}

Result<void> run_apply(const access::Context& context, const std::vector<std::string>& image) {
  ops::ApplyRequest request;
  request.diffs.paths = {"diff"};
  request.options.batch_bytes = 1;  // a flush after every window
  SNAP_ASSIGN(const auto job, ops::ApplyJob::prepare(context, request, image_of(image), "journal"));
  SNAP_TRY(job->run());
  return {};
}

// A change every so many bytes, and another size.
Bytes changed(Bytes image, uint64_t size, uint64_t every, std::mt19937_64& random) {
  image.resize(size);
  for (uint64_t at = 0; at + 8192 < size; at += every) {
    image = with(std::move(image), at, random_bytes(3000, random));
  }
  return image;
}

Trial apply_trial(FileKind kind, uint64_t final_size, std::mt19937_64& random) {
  const Bytes before = random_bytes(5 * kMiB / 2, random);
  const Bytes after = changed(before, final_size, 150 * kKiB, random);
  return {fmt::format("apply to {} bytes", final_size),
          {{"image", before, kind}, {"journal", {}}, {"diff", exported(before, after)}},
          [](const access::Context& context) { return run_apply(context, {"image"}); },
          {},
          [after](const Contents& now) -> std::string {
            if (!now[1].empty()) return "the journal is left";
            return is_equal(now[0], after, "the image");
          }};
}

Trial apply_to_view_trial(std::mt19937_64& random) {
  const NaiveStore store = store_with_room({4096, 5 * kMiB / 2, 30, false, false}, random);
  const Bytes before = store.view();
  const Bytes after = changed(before, before.size(), 16 * kKiB, random);
  return {"apply to a view",
          {{"origin", store.origin},
           {"cow", store.cow},
           {"journal", {}},
           {"diff", exported(before, after)}},
          [](const access::Context& context) {
            return run_apply(context, {"origin", "cow"});
          },
          {},
          [after](const Contents& now) {
            return is_equal(NaiveStore::view_of(now[0], now[1]), after, "the view");
          }};
}

std::vector<Trial> all_trials() {
  std::mt19937_64 random(run_seed());
  std::vector<Trial> trials;
  trials.push_back(merge_trial(random));
  trials.push_back(undo_file_trial(random));
  trials.push_back(sibling_trial(random));
  trials.push_back(stack_trial(random));
  trials.push_back(undo_trial(random));
  trials.push_back(write_trial(false, random));
  trials.push_back(write_trial(true, random));
  trials.push_back(write_origin_trial(false, random));
  trials.push_back(write_origin_trial(true, random));
  trials.push_back(discard_trial(random));
  trials.push_back(session_trial(random));
  trials.push_back(resize_trial(random));
  trials.push_back(apply_trial(FileKind::kRegular, 5 * kMiB / 2, random));
  trials.push_back(apply_trial(FileKind::kRegular, 7 * kMiB / 2, random));
  trials.push_back(apply_trial(FileKind::kRegular, 3 * kMiB / 2, random));
  trials.push_back(apply_trial(FileKind::kBlockDevice, 5 * kMiB / 2, random));
  trials.push_back(apply_to_view_trial(random));
  return trials;
}

TEST(Retry, WhatIsDoneIsOnTheMedium) {
  for (const Trial& trial : all_trials()) EXPECT_EQ(count_wrong(trial, {}, true), 0U) << trial.name;
}

// Of each mutant: the trials that must show it. (A discard that is made again writes all of it.)
void expect_caught(const Mutant& mutant, const std::vector<std::string>& by) {
  for (const Trial& trial : all_trials()) {
    if (std::find(by.begin(), by.end(), trial.name) == by.end()) continue;
    EXPECT_GT(count_wrong(trial, mutant, false), 0U) << trial.name;
  }
}

TEST(Retry, MutantThatFlushesNothingCleanIsCaught) {
  Mutant mutant;
  mutant.skips_clean_flushes = true;
  expect_caught(mutant, {"merge --sibling", "write-origin"});
}

TEST(Retry, MutantThatTrustsTheCacheIsCaught) {
  Mutant mutant;
  mutant.reads_the_cache = true;
  expect_caught(mutant, {"merge", "merge --sibling", "merge A@C1 C2", "write", "write --skip-equal",
                         "write-origin", "batch", "apply to 2621440 bytes", "apply to a view"});
}

}  // namespace
}  // namespace snaptool::test
