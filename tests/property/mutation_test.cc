// SPDX-License-Identifier: Apache-2.0
// Changes in the metadata of stores that the kernel wrote: those that break a rule are found, every
// one; how many of the others are not is counted, for the format has no checksums.
//
//     SNAPTOOL_EFFORT=5000 build/tests/property_mutation    the campaign
#include <gtest/gtest.h>
#include <zstd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "libsnap/base/endian.h"
#include "libsnap/snap/store/verify.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

uint64_t below(std::mt19937_64& random, uint64_t limit) { return random() % limit; }

Bytes unpack(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(file), {}};
  Bytes bytes(ZSTD_getFrameContentSize(packed.data(), packed.size()));
  EXPECT_EQ(ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size()), bytes.size())
      << path;
  return bytes;
}

// A store of the kernel's, which is changed and put right again.
struct Store {
  std::string name;
  uint64_t origin_size = 0;
  MemoryFile file;
  uint64_t chunk_bytes = 0;
  uint64_t chunks = 0;
  std::vector<std::pair<uint64_t, uint64_t>> entries;

  Store(const std::string& given, const std::filesystem::path& folder)
      : name(given),
        origin_size(unpack(folder / given / "origin.img.zst").size()),
        file("cow", unpack(folder / given / "cow.img.zst")) {
    const Bytes content = content_of(file);
    entries = NaiveStore::read_entries(content);
    chunk_bytes = load_le<uint32_t>(&content[12]) * uint64_t{512};
    chunks = content.size() / chunk_bytes;
  }
  uint64_t per_area() const { return chunk_bytes / 16; }
  uint64_t offset_of(uint64_t index) const {
    return (1 + index / per_area() * (per_area() + 1)) * chunk_bytes + index % per_area() * 16;
  }
};

template <typename Number>
void put(Bytes& bytes, Number value) {
  bytes.resize(sizeof(value));
  store_le(bytes.data(), value);
}

struct Mutation {
  uint64_t offset = 0;
  Bytes bytes;
  DefectCode expected = DefectCode::kNoStore;
};

// A change that breaks a rule, of each class in turn.
Mutation rule_breaker(const Store& store, int number, std::mt19937_64& random) {
  const uint64_t count = store.entries.size();
  const uint64_t index = below(random, count);
  const uint64_t other = (index + 1 + below(random, count - 1)) % count;
  const uint64_t at = store.offset_of(index);
  Mutation one;
  switch (number % 11) {
    case 0: {
      one.offset = 0;
      uint32_t magic = 0;
      while (magic == 0 || magic == 0x70416e53) magic = static_cast<uint32_t>(random());
      put(one.bytes, magic);
      one.expected = DefectCode::kBadMagic;
      break;
    }
    case 1: {
      one.offset = 8;
      put(one.bytes, static_cast<uint32_t>(2 + below(random, 1000)));
      one.expected = DefectCode::kBadVersion;
      break;
    }
    case 2: {
      one.offset = 12;
      const std::array<uint32_t, 5> sizes{0, 3, 12, 1U << 22, 1U << 31};
      put(one.bytes, sizes[below(random, sizes.size())]);
      one.expected = DefectCode::kBadChunkSize;
      break;
    }
    case 3:
      one.offset = 4;
      put(one.bytes, uint32_t{0});
      one.expected = DefectCode::kInvalid;
      break;
    case 4: {
      one.offset = at + 8;
      const uint64_t limit = (uint64_t{1} << 56) - store.chunks;
      put(one.bytes, store.chunks + (below(random, 2) == 0 ? below(random, 9) : random() % limit));
      one.expected = DefectCode::kNewBeyondCow;
      break;
    }
    case 5:
      one.offset = at + 8;
      put(one.bytes, uint64_t{1} << (56 + below(random, 8)) | random());
      one.expected = DefectCode::kNewHighByte;
      break;
    case 6:
      one.offset = at + 8;
      put(one.bytes, 1 + below(random, (store.chunks - 2) / (store.per_area() + 1) + 1) *
                             (store.per_area() + 1));
      one.expected = DefectCode::kNewIsMetadata;
      break;
    case 7:
      one.offset = at + 8;
      put(one.bytes, store.entries[other].second);
      one.expected = DefectCode::kDuplicateNew;
      break;
    case 8:
      one.offset = at;
      put(one.bytes, store.entries[other].first);
      one.expected = DefectCode::kDuplicateOld;
      break;
    case 9: {
      one.offset = at;
      const uint64_t origin_chunks =
          (store.origin_size + store.chunk_bytes - 1) / store.chunk_bytes;
      put(one.bytes, origin_chunks + (below(random, 2) == 0 ? below(random, 9) : random() >> 1));
      one.expected = DefectCode::kOldBeyondOrigin;
      break;
    }
    default: {
      // Behind the entry that ends the list, in its area.
      const uint64_t left = store.per_area() - count % store.per_area();
      const uint64_t behind = left < 2 ? 0 : 1 + below(random, left - 1);
      if (behind == 0) return rule_breaker(store, 7, random);
      one.offset = store.offset_of(count + behind) + 8 * below(random, 2);
      put(one.bytes, 1 + below(random, 1000));
      one.expected = DefectCode::kLiveBehindTerminator;
      break;
    }
  }
  return one;
}

class Campaign : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"p-mix-c1", "p-mix-c8", "p-mix-c16", "p-areas-c8", "p-exact-255",
                             "p-exact-513", "p-odd-origin-snap", "crash-c8", "merge-partial-c8"}) {
      stores_.push_back(std::make_unique<Store>(name, std::filesystem::path(SNAPTOOL_TEST_DATA)));
    }
  }

  // What verify says of the store with this change.
  VerifyReport verify(Store& store, const Mutation& mutation) {
    Bytes before(mutation.bytes.size());
    EXPECT_TRUE(store.file.read_at(mutation.offset, before));
    EXPECT_TRUE(store.file.write_at(mutation.offset, mutation.bytes));
    const Cancel cancel;
    auto report = verify_store(store.file, store.origin_size, cancel);
    EXPECT_TRUE(report) << report.error().describe();
    EXPECT_TRUE(store.file.write_at(mutation.offset, before));
    return *std::move(report);
  }

  std::vector<std::unique_ptr<Store>> stores_;
};

TEST_F(Campaign, EveryBrokenRuleIsFound) {
  std::mt19937_64 random(run_seed());
  for (const auto& store : stores_) {
    const Cancel cancel;
    const auto report = verify_store(store->file, store->origin_size, cancel);
    ASSERT_TRUE(report && report->result() == Severity::kNote) << store->name;
    ASSERT_GT(store->entries.size(), 1U) << store->name;
  }
  for (int n = 0; n < case_count(2000); ++n) {
    Store& store = *stores_[below(random, stores_.size())];
    const Mutation mutation = rule_breaker(store, n, random);
    const VerifyReport report = verify(store, mutation);
    ASSERT_GT(report.count(mutation.expected), 0U)
        << store.name << ": " << defect_code_name(mutation.expected) << " at byte "
        << mutation.offset;
    ASSERT_NE(report.result(), Severity::kNote);
  }
}

TEST_F(Campaign, OfOtherChangesMostAreFound) {
  std::mt19937_64 random(run_seed() + 1);
  const int cases = case_count(2000);
  std::array<int, 2> tried{};
  std::array<int, 2> missed{};
  for (int n = 0; n < cases; ++n) {
    Store& store = *stores_[below(random, stores_.size())];
    Mutation mutation;
    const uint64_t field = below(random, 2);  // 0: an old chunk, 1: a new one
    mutation.offset =
        store.offset_of(below(random, store.entries.size())) + 8 * field + below(random, 8);
    mutation.bytes.resize(1);
    ASSERT_TRUE(store.file.read_at(mutation.offset, mutation.bytes));
    mutation.bytes[0] ^= std::byte{1} << below(random, 8);
    ++tried[field];
    if (verify(store, mutation).result() == Severity::kNote) ++missed[field];
  }
  // An old chunk can be any of the origin's that has no entry, a new one any that is not in use.
  for (const size_t field : {0, 1}) {
    std::printf("one bit of %s chunk: %d of %d not found\n", field == 0 ? "an old" : "a new",
                missed[field], tried[field]);
    EXPECT_LT(missed[field] * 3, tried[field]);
  }
}

}  // namespace
}  // namespace snaptool::test
