// SPDX-License-Identifier: Apache-2.0
// Random stores against the naive model: reading, verifying, merging.
#include <gtest/gtest.h>

#include <algorithm>

#include "libsnap/copy/copy_image.h"
#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/view/snapshot_image.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

StoreShape random_shape(std::mt19937_64& random) {
  StoreShape shape;
  shape.chunk_bytes = uint64_t{512} << (random() % 8);
  const uint64_t chunks = 1 + random() % std::min<uint64_t>(400, 2 * kMiB / shape.chunk_bytes);
  shape.origin_bytes = chunks * shape.chunk_bytes;
  // Odd ends: a part chunk, and a part sector behind it.
  if (random() % 2 == 0) shape.origin_bytes -= random() % shape.chunk_bytes;
  const uint64_t viewed_chunks =
      (shape.origin_bytes / 512 * 512 + shape.chunk_bytes - 1) / shape.chunk_bytes;
  shape.exceptions = random() % (viewed_chunks + 1);
  shape.in_order = random() % 2 == 0;
  shape.sequential = random() % 3 == 0;
  return shape;
}

Bytes read_all(Image& image, std::mt19937_64& random) {
  Bytes bytes(image.size());
  for (uint64_t at = 0; at < bytes.size();) {
    const uint64_t piece = std::min<uint64_t>(bytes.size() - at, 1 + random() % 9000);
    EXPECT_TRUE(image.read_at(at, std::span(bytes).subspan(at, piece)));
    at += piece;
  }
  return bytes;
}

TEST(MergeProperty, RandomStoresReadVerifyAndMergeAsTheModelSays) {
  std::mt19937_64 random(run_seed());
  const Cancel cancel;
  for (int n = 0; n < case_count(300); ++n) {
    const StoreShape shape = random_shape(random);
    SCOPED_TRACE(testing::Message()
                 << "case " << n << ": chunk " << shape.chunk_bytes << ", origin "
                 << shape.origin_bytes << ", exceptions " << shape.exceptions);
    const NaiveStore store = make_store(shape, random);
    const Bytes view = store.view();
    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);

    const auto report = verify_store(cow, origin.size(), cancel);
    ASSERT_TRUE(report);
    ASSERT_EQ(report->result(), Severity::kNote)
        << (report->findings.empty() ? "" : report->findings.front().message);
    ASSERT_EQ(report->exceptions, store.entries.size());

    RawImage base(origin, origin.size());
    auto image = SnapshotImage::open(base, cow, SnapshotImage::Damage::kRefuse, cancel);
    ASSERT_TRUE(image);
    ASSERT_EQ(read_all(**image, random), view);

    Progress progress;
    const Job job{progress, cancel, 1 + static_cast<unsigned>(random() % 4)};
    MemoryFile copy("copy", view.size());
    ASSERT_TRUE(copy_image(**image, 0, view.size(), copy, true, job));
    ASSERT_EQ(content_of(copy), view);

    MergeOptions options;
    options.batch_bytes = 1 + random() % (64 * kKiB);
    auto merge = Merge::begin(origin, cow, options, job);
    ASSERT_TRUE(merge);
    while ((*merge)->phase() != Merge::Phase::kDone) {
      ASSERT_TRUE((*merge)->step(job));
      // Between any two phases the view is what it was.
      if (random() % 16 == 0) {
        ASSERT_EQ(NaiveStore::view_of(content_of(origin), content_of(cow)), view);
      }
    }
    Bytes expected = view;  // and behind it what was no whole sector, untouched
    expected.insert(expected.end(), store.origin.begin() + static_cast<ptrdiff_t>(view.size()),
                    store.origin.end());
    ASSERT_EQ(content_of(origin), expected);
    ASSERT_TRUE(NaiveStore::read_entries(content_of(cow)).empty());
    ASSERT_EQ((*merge)->merged_exceptions(), store.entries.size());
  }
}

TEST(MergeProperty, DuplicatesMergeAsTheyReadWhateverTheBatch) {
  std::mt19937_64 random(run_seed() + 1);
  const Cancel cancel;
  for (int n = 0; n < case_count(200); ++n) {
    StoreShape shape;
    shape.chunk_bytes = 512;
    shape.origin_bytes = 100 * 512;
    shape.exceptions = 100;
    shape.in_order = true;
    NaiveStore store = make_store(shape, random);
    for (auto& entry : store.entries) entry.first = random() % 30;  // many entries a chunk
    store.write_metadata();
    const Bytes view = store.view();
    MemoryFile origin("origin", store.origin);
    MemoryFile cow("cow", store.cow);
    RawImage base(origin, origin.size());
    auto image = SnapshotImage::open(base, cow, SnapshotImage::Damage::kShow, cancel);
    ASSERT_TRUE(image);
    ASSERT_EQ(read_all(**image, random), view);

    Progress progress;
    const Job job{progress, cancel, 2};
    MergeOptions options;
    options.batch_bytes = 512 * (1 + random() % 120);
    auto refused = Merge::begin(origin, cow, options, job);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
    options.accept_duplicates = true;
    auto merge = Merge::begin(origin, cow, options, job);
    ASSERT_TRUE(merge);
    ASSERT_TRUE((*merge)->run(job));
    ASSERT_EQ(content_of(origin), view);
  }
}

TEST(MergeProperty, BatchesShrinkWhereTheyTakeLongAndGrowWhereTheyDoNot) {
  std::mt19937_64 random(run_seed());
  StoreShape shape;
  shape.chunk_bytes = 16 * kKiB;
  shape.origin_bytes = 16 * kMiB;
  shape.exceptions = 1024;
  const NaiveStore store = make_store(shape, random);
  MemoryFile origin("origin", store.origin);
  MemoryFile cow("cow", store.cow);
  Progress progress;
  const Cancel cancel;
  const Job job{progress, cancel, 1};
  MergeOptions options;
  options.batch_bytes = 4 * kMiB;
  std::chrono::seconds a_batch{10};
  std::chrono::seconds now{0};
  options.now = [&] { return now; };
  auto merge = Merge::begin(origin, cow, options, job);
  ASSERT_TRUE(merge);
  std::vector<uint64_t> merged;  // MiB, batch by batch
  for (uint64_t before = 0; (*merge)->phase() != Merge::Phase::kDone;) {
    if ((*merge)->phase() == Merge::Phase::kCopy) now += a_batch;
    ASSERT_TRUE((*merge)->step(job));
    const uint64_t after = (*merge)->merged_exceptions();
    if (after > before) merged.push_back((after - before) * shape.chunk_bytes / kMiB);
    before = after;
    if (merged.size() == 4) a_batch = std::chrono::seconds(1);
  }
  EXPECT_EQ(merged, (std::vector<uint64_t>{4, 4, 2, 1, 1, 1, 2, 1}));
  EXPECT_EQ(content_of(origin), store.view());
}

}  // namespace
}  // namespace snaptool::test
