// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/persistent_store.h"

#include <gtest/gtest.h>

#include "libsnap/snap/view/snapshot_image.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

Cancel g_no_cancel;

Result<void> read_all(PersistentStore& store) { return store.read_metadata(g_no_cancel); }

Bytes header(uint32_t magic, uint32_t valid, uint32_t version, uint32_t chunk_size, size_t size) {
  Bytes bytes(size);
  for (const auto& [at, value] :
       {std::pair{0, magic}, {4, valid}, {8, version}, {12, chunk_size}}) {
    for (int i = 0; i < 4; ++i)
      bytes[static_cast<size_t>(at + i)] = static_cast<std::byte>(value >> (8 * i));
  }
  return bytes;
}

TEST(PersistentStore, HeadersThatTheKernelRefuses) {
  struct Case {
    Bytes content;
    const char* reason;
  };
  const std::vector<Case> cases = {
      {header(kSnapMagic, 1, 1, 8, 100), "less than one sector"},
      {header(0, 1, 1, 8, 65536), "its header was wiped"},
      {header(0x12345678, 1, 1, 8, 8192), "magic"},
      {header(kSnapMagic, 1, 2, 8, 8192), "version is 2"},
      {header(kSnapMagic, 0, 7, 8, 8192), "version is 7"},
      {header(kSnapMagic, 1, 1, 0, 8192), "chunk size is 0"},
      {header(kSnapMagic, 1, 1, 12, 8192), "chunk size is 12"},
      {header(kSnapMagic, 1, 1, uint32_t{1} << 22, 8192), "chunk size is 4194304"},
      {header(kSnapMagic, 1, 1, UINT32_MAX, 8192), "chunk size is 4294967295"},
      {header(kSnapMagic, 1, 1, 32, 8192), "less than one chunk"},
  };
  for (const Case& c : cases) {
    MemoryFile cow("cow", c.content);
    const auto store = PersistentStore::open(cow);
    ASSERT_FALSE(store) << c.reason;
    EXPECT_EQ(store.error().code(), ErrorCode::kCorruption);
    EXPECT_NE(store.error().describe().find(c.reason), std::string::npos)
        << store.error().describe();
  }
}

// A list anywhere that a chunk size of the kernel's could put one makes magic 0 a wiped header.
TEST(PersistentStore, MagicZeroIsANewStoreOnlyWithoutAList) {
  for (const uint64_t size : {0, 1, 16, 511, 512, 4096, 8191}) {
    MemoryFile cow("cow", Bytes(size));
    const auto store = PersistentStore::open(cow);
    ASSERT_FALSE(store) << size;
    EXPECT_EQ(store.error().code(), ErrorCode::kNotFound) << size;
  }
  for (uint64_t chunk = 512; chunk <= 16 * kMiB; chunk *= 2) {
    for (const uint64_t byte : {chunk, chunk + 15, 2 * chunk - 1}) {
      if (chunk > 4 * kMiB && byte != chunk) continue;
      MemoryFile cow("cow", Bytes(3 * chunk + 8192));
      ASSERT_TRUE(PersistentStore::open(cow)) << chunk;
      ASSERT_TRUE(cow.write_at(byte, Bytes(1, std::byte{1})));
      const auto store = PersistentStore::open(cow);
      ASSERT_FALSE(store) << byte;
      EXPECT_EQ(store.error().code(), ErrorCode::kCorruption) << byte;
      EXPECT_EQ(store.error().remedy(), Remedy::kRepairStore);
    }
  }
}

TEST(PersistentStore, StatesOfASoundHeader) {
  MemoryFile none("cow", Bytes(8192));
  EXPECT_EQ(PersistentStore::open(none)->state(), StoreState::kNone);
  MemoryFile invalid("cow", header(kSnapMagic, 0, 1, 8, 8192));
  EXPECT_EQ(PersistentStore::open(invalid)->state(), StoreState::kInvalid);
  MemoryFile valid("cow", header(kSnapMagic, 2, 1, 8, 8192));
  EXPECT_EQ(PersistentStore::open(valid)->state(), StoreState::kValid);
}

TEST(PersistentStore, AGibibyteChunkIsReadInPiecesAndAHoleCostsNothing) {
  MemoryFile data("cow", uint64_t{3} << 30);
  ASSERT_TRUE(data.write_at(0, header(kSnapMagic, 1, 1, kMaxChunkSectors, 512)));
  uint64_t largest = 0;
  uint64_t total = 0;
  FaultFile cow(data, [&](const FileOperation& operation) -> Result<void> {
    largest = std::max(largest, operation.length);
    total += operation.length;
    return {};
  });
  auto store = PersistentStore::open(cow);
  ASSERT_TRUE(store);
  ASSERT_TRUE(read_all(*store));
  EXPECT_EQ(store->exceptions(), 0U);
  int tail = 0;
  ASSERT_TRUE(store->visit_tail([&](uint64_t, Exception) { ++tail; }));
  EXPECT_EQ(tail, 0);
  EXPECT_LE(largest, kIoPiece);
  EXPECT_LE(total, 4 * kIoPiece);
}

TEST(PersistentStore, AnAreaThatIsFullNeedsASuccessor) {
  NaiveStore naive;
  naive.chunk_bytes = 512;
  for (uint64_t i = 0; i < 32; ++i) naive.entries.emplace_back(i, 2 + i);
  naive.cow.resize(35 * 512);
  naive.write_metadata();
  naive.cow.resize(34 * 512);  // area 1 would be chunk 34
  MemoryFile cow("cow", naive.cow);
  auto store = PersistentStore::open(cow);
  ASSERT_TRUE(store);
  const auto read = read_all(*store);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kCorruption);
  EXPECT_EQ(store->missing_area(), 1U);
}

TEST(PersistentStore, ClearsGoDownwardByAtMostAPage) {
  std::mt19937_64 random(run_seed());
  for (const uint64_t chunk_bytes : {512, 4096, 16384}) {
    const uint64_t count = chunk_bytes / 16 * (chunk_bytes > 4096 ? 1 : 3) + 37;
    const NaiveStore naive =
        make_store({chunk_bytes, count * chunk_bytes, count, true, true}, random);
    MemoryFile data("cow", naive.cow);
    std::vector<FileOperation> writes;
    FaultFile cow(data, [&](const FileOperation& operation) -> Result<void> {
      if (operation.kind == FileOperation::Kind::kWrite) writes.push_back(operation);
      // The list that a reader would find at this instant is a beginning of the whole list.
      const auto left = NaiveStore::read_entries(content_of(data));
      EXPECT_TRUE(std::equal(left.begin(), left.end(), naive.entries.begin()));
      return {};
    });
    auto store = PersistentStore::open(cow);
    ASSERT_TRUE(store && read_all(*store));
    const uint64_t clear = chunk_bytes / 16 + 7;
    ASSERT_TRUE(store->commit_merge(clear));
    EXPECT_EQ(NaiveStore::read_entries(content_of(data)).size(), count - clear);
    ASSERT_FALSE(writes.empty());
    for (size_t i = 0; i < writes.size(); ++i) {
      EXPECT_LE(writes[i].length, 4096U);
      EXPECT_EQ(writes[i].offset / 4096, (writes[i].offset + writes[i].length - 1) / 4096);
      if (i > 0) {
        EXPECT_LT(writes[i].offset, writes[i - 1].offset);
      }
    }
  }
}

TEST(PersistentStore, PrepareMergeComesFromTheTail) {
  std::mt19937_64 random(run_seed());
  const NaiveStore naive = make_store({512, 100 * 512, 90, false, false}, random);
  MemoryFile cow("cow", naive.cow);
  auto store = PersistentStore::open(cow);
  ASSERT_TRUE(store && read_all(*store));
  const auto batch = store->prepare_merge(store->exceptions(), 70);
  ASSERT_TRUE(batch);
  ASSERT_EQ(batch->size(), 70U);
  for (size_t i = 0; i < batch->size(); ++i) {
    EXPECT_EQ((*batch)[i].old_chunk, naive.entries[89 - i].first);
    EXPECT_EQ((*batch)[i].new_chunk, naive.entries[89 - i].second);
  }
}

TEST(SnapshotImage, AStackOfStores) {
  std::mt19937_64 random(run_seed());
  NaiveStore lower = make_store({1024, 50 * 1024 + 700, 30, false, false}, random);
  NaiveStore upper = make_store({4096, 50 * 1024 + 512, 9, false, false}, random);
  upper.origin = lower.view();
  MemoryFile origin("origin", lower.origin);
  MemoryFile first("first", lower.cow);
  MemoryFile second("second", upper.cow);
  RawImage base(origin, origin.size());
  const auto below = SnapshotImage::open(base, first, SnapshotImage::Damage::kRefuse, g_no_cancel);
  ASSERT_TRUE(below);
  const auto top =
      SnapshotImage::open(**below, second, SnapshotImage::Damage::kRefuse, g_no_cancel);
  ASSERT_TRUE(top);
  Bytes view((*top)->size());
  ASSERT_TRUE((*top)->read_at(0, view));
  EXPECT_EQ(view, upper.view());
  // The extents name the file that each byte comes from.
  for (uint64_t at = 0; at < view.size();) {
    const auto extent = (*top)->extent_at(at, view.size() - at);
    ASSERT_TRUE(extent);
    const MemoryFile* files[] = {&second, &first, &origin};
    EXPECT_EQ(extent->file, files[extent->depth]);
    at += extent->length;
  }
}

TEST(SnapshotImage, AnEntryBeyondTheCowFailsOnlyItsChunk) {
  NaiveStore naive;
  naive.chunk_bytes = 512;
  naive.cow.resize(10 * 512);
  naive.entries = {{1, 5000}, {2, 4}};
  naive.write_metadata();
  MemoryFile origin("origin", Bytes(4096, std::byte{1}));
  MemoryFile cow("cow", naive.cow);
  RawImage base(origin, origin.size());
  const auto refused = SnapshotImage::open(base, cow, SnapshotImage::Damage::kRefuse, g_no_cancel);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
  const auto view = SnapshotImage::open(base, cow, SnapshotImage::Damage::kShow, g_no_cancel);
  ASSERT_TRUE(view);
  ASSERT_EQ((*view)->doubts().size(), 1U);
  Bytes chunk(512);
  EXPECT_TRUE((*view)->read_at(0, chunk));
  EXPECT_TRUE((*view)->read_at(1024, chunk));
  const auto broken = (*view)->read_at(512, chunk);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code(), ErrorCode::kCorruption);
}

}  // namespace
}  // namespace snaptool::test
