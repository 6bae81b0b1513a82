// SPDX-License-Identifier: Apache-2.0
#include "libsnap/base/hash.h"

#include <gtest/gtest.h>

#include <sstream>

#include "libsnap/base/crc32.h"
#include "libsnap/base/crc32c.h"
#include "libsnap/diff/content_hash.h"
#include "libsnap/diff/manifest.h"
#include "libsnap/io/memory_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

const std::vector<HashAlgorithm> kAll = {HashAlgorithm::kSha256, HashAlgorithm::kSha512,
                                         HashAlgorithm::kSha1, HashAlgorithm::kMd5};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string sum_of(HashAlgorithm algorithm, std::span<const std::byte> data) {
  Hash hash(algorithm);
  hash.update(data);
  return hash.finish();
}

TEST(Hash, PublishedValues) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926U);
  EXPECT_EQ(crc32(bytes_of("6789"), crc32(bytes_of("12345"))), 0xcbf43926U);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283U);
  EXPECT_EQ(crc32c(bytes_of("6789"), crc32c(bytes_of("12345"))), 0xe3069283U);
  // FIPS 180 and RFC 1321, of "abc".
  EXPECT_EQ(sum_of(HashAlgorithm::kSha256, bytes_of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sum_of(HashAlgorithm::kSha1, bytes_of("abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sum_of(HashAlgorithm::kMd5, bytes_of("abc")), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(sum_of(HashAlgorithm::kSha512, bytes_of("abc")),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
  for (const HashAlgorithm algorithm : kAll) {
    EXPECT_EQ(hash_algorithm(hash_name(algorithm)), algorithm);
    EXPECT_EQ(sum_of(algorithm, {}).size(), hash_digits(algorithm));
  }
  EXPECT_EQ(hash_algorithm("SHA256"), HashAlgorithm::kSha256);
  EXPECT_FALSE(hash_algorithm("crc32"));
}

TEST(ContentHash, RangesAndBlocksAreThoseOfTheirBytes) {
  std::mt19937_64 random(run_seed());
  const Cancel cancel;
  for (int n = 0; n < case_count(20); ++n) {
    MemoryFile file("f", 1 + random() % (4 * kMiB));
    for (int k = 0; k < 3; ++k) {  // and holes
      const uint64_t at = random() % file.size();
      const uint64_t length = 1 + random() % std::min<uint64_t>(kMiB, file.size() - at);
      ASSERT_TRUE(file.write_at(at, random_bytes(length, random)));
    }
    const Bytes content = content_of(file);
    RawImage image(file, file.size());
    Progress progress;
    const Job job{progress, cancel, 1 + static_cast<unsigned>(random() % 3)};
    const uint64_t from = random() % content.size();
    const uint64_t length = random() % (content.size() - from + 1);
    const auto sums = hash_range(image, from, length, kAll, job);
    ASSERT_TRUE(sums);
    for (size_t i = 0; i < kAll.size(); ++i) {
      ASSERT_EQ((*sums)[i], sum_of(kAll[i], std::span(content).subspan(from, length)));
    }
    const uint64_t block = 1 + random() % (random() % 2 == 0 ? 3 * kMiB : 70000);
    uint64_t next = 0;
    const auto hashed = hash_blocks(
        image, block, kAll,
        [&](const BlockHash& one) -> Result<void> {
          EXPECT_EQ(one.offset, next);
          EXPECT_EQ(one.length, std::min(block, content.size() - next));
          for (size_t i = 0; i < kAll.size(); ++i) {
            EXPECT_EQ(one.sums[i],
                      sum_of(kAll[i], std::span(content).subspan(one.offset, one.length)));
          }
          next += one.length;
          return {};
        },
        job);
    ASSERT_TRUE(hashed);
    ASSERT_EQ(next, content.size());
  }
}

TEST(ContentHash, EntropyIsThatOfTheBytes) {
  const Cancel cancel;
  Progress progress;
  Bytes even;
  for (int i = 0; i < 256 * 64; ++i) even.push_back(static_cast<std::byte>(i));
  Bytes two(4096, std::byte{1});
  std::fill_n(two.begin(), 2048, std::byte{2});
  const std::vector<std::pair<Bytes, double>> cases = {
      {even, 8.0}, {two, 1.0}, {Bytes(1000, std::byte{9}), 0.0}};
  for (const auto& [content, entropy] : cases) {
    MemoryFile file("f", content);
    RawImage image(file, file.size());
    const auto found = examine_range(image, 0, content.size(), Job{progress, cancel, 1});
    ASSERT_TRUE(found);
    EXPECT_NEAR(found->entropy, entropy, 1e-9);
    EXPECT_EQ(found->sha256, sum_of(HashAlgorithm::kSha256, content));
  }
}

Result<std::vector<std::string>> all_blocks(const std::string& text) {
  std::istringstream in(text);
  SNAP_ASSIGN(ManifestReader reader, ManifestReader::open(in, "manifest"));
  std::vector<std::string> sums;
  for (;;) {
    SNAP_ASSIGN(const auto block, reader.next_block());
    if (!block) return sums;
    sums.insert(sums.end(), block->begin(), block->end());
  }
}

TEST(Manifest, BlocksComeBackAndNoneMayBeMissing) {
  const std::string one = sum_of(HashAlgorithm::kMd5, bytes_of("a"));
  const std::string two = sum_of(HashAlgorithm::kMd5, bytes_of("b"));
  const std::string head = block_manifest_head(1500, 1000, {HashAlgorithm::kMd5}, "an\nimage");
  const std::string first = block_manifest_line(0, {one});
  const std::string second = block_manifest_line(1000, {two});
  const auto read = all_blocks(head + first + second);
  ASSERT_TRUE(read) << read.error().describe();
  EXPECT_EQ(*read, (std::vector<std::string>{one, two}));
  EXPECT_TRUE(all_blocks(head + first + "# a comment\n\n" + second));
  const std::vector<std::string> broken = {
      "",
      head,
      head + first,
      head + second,
      head + second + first,
      head + first + first,
      head + first + second + block_manifest_line(1500, {one}),
      head + block_manifest_line(0, {one, two}) + second,
      head + block_manifest_line(0, {one.substr(1)}) + second,
      head + block_manifest_line(0, {std::string(32, 'g')}) + second,
      "# snaptool block manifest 1\n# size 5\n",
      "# snaptool block manifest 1\n# size 5\n# block-size 0\n# algorithms md5\n0 " + one + "\n",
      "# snaptool block manifest 1\n# size 5\n# block-size 9\n# algorithms crc\n0 " + one + "\n",
  };
  for (const std::string& text : broken) {
    const auto refused = all_blocks(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
  }
}

TEST(Manifest, WholeSumsAsTheGnuToolsWriteThem) {
  const std::string sum = sum_of(HashAlgorithm::kSha256, bytes_of("a"));
  EXPECT_EQ(manifest_line(HashAlgorithm::kSha256, sum, "a b", false), sum + "  a b\n");
  EXPECT_EQ(manifest_line(HashAlgorithm::kSha256, sum, "a\nb\\", false),
            "\\" + sum + "  a\\nb\\\\\n");
  EXPECT_EQ(manifest_line(HashAlgorithm::kSha256, sum, "x", true), "SHA256 (x) = " + sum + "\n");
  for (const bool tagged : {false, true}) {
    std::istringstream in(manifest_line(HashAlgorithm::kSha256, sum, "a (b) = c", tagged));
    const auto reader = ManifestReader::open(in, "m");
    ASSERT_TRUE(reader);
    EXPECT_FALSE(reader->of_blocks());
    ASSERT_EQ(reader->images().size(), 1);
    EXPECT_EQ(reader->images()[0].name, "a (b) = c");
    EXPECT_EQ(reader->images()[0].sums, std::vector<std::string>{sum});
    EXPECT_EQ(reader->images()[0].algorithms, std::vector<HashAlgorithm>{HashAlgorithm::kSha256});
  }
}

TEST(Manifest, SumsOfSeveralImages) {
  const std::string sha256 = sum_of(HashAlgorithm::kSha256, bytes_of("a"));
  const std::string md5 = sum_of(HashAlgorithm::kMd5, bytes_of("a"));
  const std::string odd = "a\\b\nc\rd";
  const std::string text = manifest_line(HashAlgorithm::kSha256, sha256, "x", false) + "# all\n\n" +
                           manifest_line(HashAlgorithm::kMd5, md5, odd, true) + sha256 + " *bin\n" +
                           manifest_line(HashAlgorithm::kMd5, md5, "x", true) + sha256 + "\n";
  std::istringstream in(text);
  const auto reader = ManifestReader::open(in, "m");
  ASSERT_TRUE(reader) << reader.error().describe();
  std::vector<std::string> names;
  for (const ImageSums& image : reader->images()) names.push_back(image.name);
  EXPECT_EQ(names, (std::vector<std::string>{"x", odd, "bin", ""}));
  EXPECT_EQ(reader->images()[0].sums, (std::vector<std::string>{sha256, md5}));
  EXPECT_EQ(reader->images()[0].algorithms,
            (std::vector<HashAlgorithm>{HashAlgorithm::kSha256, HashAlgorithm::kMd5}));
  std::istringstream broken(text + "no sum\n");
  EXPECT_FALSE(ManifestReader::open(broken, "m"));
}

}  // namespace
}  // namespace snaptool::test
