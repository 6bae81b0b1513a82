// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "libsnap/io/memory_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

struct Found {
  std::vector<Difference> ranges;
  CompareSummary summary;
};

Found compare(File& a, File& b, const CompareOptions& options, unsigned jobs) {
  Found found;
  const Cancel cancel;
  Progress progress;
  RawImage image_a(a, a.size());
  RawImage image_b(b, b.size());
  const auto summary = compare_images(
      image_a, image_b, options,
      [&](const Difference& one) -> Result<void> {
        found.ranges.push_back(one);
        return {};
      },
      Job{progress, cancel, jobs});
  EXPECT_TRUE(summary);
  if (summary) found.summary = *summary;
  return found;
}

// By byte and granule: zeros behind the shorter one's end.
std::vector<Difference> naive(Bytes a, Bytes b, uint64_t unit) {
  const uint64_t end = std::max(a.size(), b.size());
  a.resize(end);
  b.resize(end);
  std::vector<Difference> ranges;
  for (uint64_t from = 0; from < end; from += unit) {
    const uint64_t to = std::min(end, from + unit);
    uint64_t changed = 0;
    for (uint64_t i = from; i < to; ++i) changed += a[i] != b[i] ? 1U : 0U;
    if (changed == 0) continue;
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == from) {
      ranges.back().length += to - from;
      ranges.back().changed_bytes += changed;
    } else {
      ranges.push_back({from, to - from, changed});
    }
  }
  return ranges;
}

// Data, and holes between.
std::unique_ptr<MemoryFile> random_file(uint64_t size, std::mt19937_64& random) {
  auto file = std::make_unique<MemoryFile>("f", size);
  for (int n = 0; n < 6; ++n) {
    const uint64_t at = random() % size;
    const uint64_t length = 1 + random() % (size - at);
    const Bytes data = random() % 3 == 0 ? Bytes(length) : random_bytes(length, random);
    EXPECT_TRUE(file->write_at(at, data));
  }
  return file;
}

TEST(Compare, RandomImagesDifferWhereANaiveComparisonSays) {
  std::mt19937_64 random(run_seed());
  for (int n = 0; n < case_count(60); ++n) {
    const auto a = random_file(1 + random() % (3 * kMiB), random);
    MemoryFile b("b", content_of(*a));
    if (random() % 2 == 0) {
      ASSERT_TRUE(b.resize(1 + random() % (3 * kMiB)));
    }
    for (int change = static_cast<int>(random() % 30); change > 0; --change) {
      const uint64_t at = random() % b.size();
      const uint64_t most = random() % 4 == 0 ? 300000 : 600;
      ASSERT_TRUE(
          b.write_at(at, random_bytes(1 + random() % std::min(most, b.size() - at), random)));
    }
    CompareOptions options;
    const std::vector<uint64_t> units = {512, 512, 4096, 65536, kMiB, 3000};
    options.granularity = units[random() % units.size()];
    const auto expected = naive(content_of(*a), content_of(b), options.granularity);
    const Found found = compare(*a, b, options, 1 + static_cast<unsigned>(random() % 3));
    ASSERT_EQ(found.ranges.size(), expected.size());
    uint64_t changed = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(found.ranges[i].offset, expected[i].offset);
      ASSERT_EQ(found.ranges[i].length, expected[i].length);
      ASSERT_EQ(found.ranges[i].changed_bytes, expected[i].changed_bytes);
      changed += expected[i].changed_bytes;
    }
    ASSERT_EQ(found.summary.changed_bytes, changed);
    ASSERT_EQ(
        found.summary.compared_bytes + found.summary.hole_bytes + found.summary.same_storage_bytes,
        std::max(a->size(), b.size()));
    ASSERT_EQ(found.summary.sizes_differ, a->size() != b.size());
  }
}

TEST(Compare, StrictTellsHolesFromZeros) {
  MemoryFile hole("a", 3 * kMiB);
  MemoryFile zeros("b", 3 * kMiB);
  ASSERT_TRUE(zeros.write_at(kMiB, Bytes(kMiB)));
  CompareOptions options;
  EXPECT_TRUE(compare(hole, zeros, options, 2).summary.equal(options));
  options.strict = true;
  const Found found = compare(hole, zeros, options, 2);
  ASSERT_EQ(found.ranges.size(), 1U);
  EXPECT_EQ(found.ranges[0].offset, kMiB);
  EXPECT_EQ(found.ranges[0].length, kMiB);
  EXPECT_EQ(found.ranges[0].changed_bytes, 0U);
  MemoryFile longer("c", 3 * kMiB + 1);
  EXPECT_FALSE(compare(hole, longer, options, 2).summary.equal(options));
  options.strict = false;
  EXPECT_TRUE(compare(hole, longer, options, 2).summary.equal(options));
}

// A file of a file system with reflinks: pieces of 64 KiB lie at places of the device.
class ReflinkedFile : public MemoryFile {
 public:
  static constexpr uint64_t kPiece = 64 * kKiB;
  ReflinkedFile(uint64_t inode, const Bytes& content, std::vector<std::optional<uint64_t>> places)
      : MemoryFile("f", content), id_{42, inode}, places_(std::move(places)) {}
  std::optional<FileId> id() const override { return id_; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override {
    read_bytes_ += out.size();
    return MemoryFile::read_at(offset, out);
  }
  SharedExtent shared_at(uint64_t offset, uint64_t limit) const override {
    const uint64_t in_piece = offset % kPiece;
    const auto& place = places_.at(offset / kPiece);
    const uint64_t length = std::min(limit, kPiece - in_piece);
    if (!place) return {length, {}};
    return {length, *place + in_piece};
  }
  uint64_t read_bytes() const { return read_bytes_; }

 private:
  FileId id_;
  std::vector<std::optional<uint64_t>> places_;
  std::atomic<uint64_t> read_bytes_{0};
};

TEST(Compare, ReflinkedPiecesAreNotRead) {
  std::mt19937_64 random(run_seed());
  constexpr uint64_t kPiece = ReflinkedFile::kPiece;
  for (int n = 0; n < case_count(40); ++n) {
    const size_t pieces = 1 + random() % 40;
    Bytes a = random_bytes(pieces * kPiece, random);
    Bytes b = a;
    std::vector<std::optional<uint64_t>> places_a;
    std::vector<std::optional<uint64_t>> places_b;
    uint64_t shared = 0;
    for (size_t i = 0; i < pieces; ++i) {
      const uint64_t place = (1000 + i) * kPiece;
      const uint64_t kind = random() % 4;
      if (kind == 0) {  // the same place
        places_a.emplace_back(place);
        places_b.emplace_back(place);
        shared += kPiece;
        continue;
      }
      // Different places, with other bytes or the same ones.
      if (random() % 2 == 0) b[i * kPiece + random() % kPiece] ^= std::byte{1};
      places_a.push_back(kind == 1 ? std::optional<uint64_t>() : place);
      places_b.push_back(kind == 2 ? std::optional<uint64_t>() : place + 5000 * kPiece);
    }
    ReflinkedFile file_a(1, a, places_a);
    ReflinkedFile file_b(2, b, places_b);
    const Found found = compare(file_a, file_b, {}, 2);
    const auto expected = naive(a, b, kSectorSize);
    ASSERT_EQ(found.ranges.size(), expected.size());
    ASSERT_EQ(found.summary.same_storage_bytes, shared);
    ASSERT_EQ(file_a.read_bytes(), a.size() - shared);
    ASSERT_EQ(file_b.read_bytes(), b.size() - shared);
  }
}

TEST(Compare, TwoNamesOfOneFileAreNotRead) {
  const Bytes content(300000, std::byte{5});
  ReflinkedFile a(7, content, std::vector<std::optional<uint64_t>>(5));
  ReflinkedFile b(7, content, std::vector<std::optional<uint64_t>>(5));
  EXPECT_EQ(compare(a, b, {}, 2).summary.same_storage_bytes, content.size());
  EXPECT_EQ(a.read_bytes() + b.read_bytes(), 0U);
}

}  // namespace
}  // namespace snaptool::test
