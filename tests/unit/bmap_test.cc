// SPDX-License-Identifier: Apache-2.0
#include "formats/bmap/bmap.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "libsnap/io/memory_file.h"
#include "libsnap/ops/copy_mapped.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::bmap {
namespace {

using test::Bytes;

std::span<const std::byte> text_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string sum_in_hex(HashAlgorithm algorithm, std::span<const std::byte> bytes) {
  Hash hash(algorithm);
  hash.update(bytes);
  return hash.finish();
}

// The text of a map, of which a test changes something.
struct MapText {
  std::string version = "2.0";
  std::string head;  // before the root
  std::string size = "100000";
  std::string block_size = "4096";
  std::string blocks = "25";
  std::string mapped = "4";
  std::string type = "sha256";
  std::string ranges = "<Range> 0-1 </Range><Range>3</Range>\n<Range> 24-24 </Range>";
  std::string more;
  HashAlgorithm algorithm = HashAlgorithm::kSha256;

  std::string values() const {
    return fmt::format(
        "<ImageSize> {} </ImageSize>\n<BlockSize>{}</BlockSize><BlocksCount>{}</BlocksCount>"
        "<MappedBlocksCount> {}  </MappedBlocksCount>",
        size, block_size, blocks, mapped);
  }

  // Its own sum is right.
  std::string text() const {
    const bool has_sums = version != "1.0" && version != "1.2";
    const std::string own = version == "1.3" ? "BmapFileSHA1" : "BmapFileChecksum";
    const std::string zeros(hash_digits(algorithm), '0');
    std::string sums;
    if (has_sums && version != "1.3") sums = "<ChecksumType> " + type + " </ChecksumType>";
    if (has_sums) sums += "<!-- x --><" + own + "> " + zeros + " </" + own + ">";
    std::string all = fmt::format(
        "{}<bmap version=\"{}\">{}{}{}<BlockMap>{}</BlockMap></bmap>\n<!-- the end -->\n", head,
        version, values(), sums, more, ranges);
    const size_t place = all.find(zeros);
    if (place == std::string::npos) return all;
    return all.replace(place, zeros.size(), sum_in_hex(algorithm, text_bytes(all)));
  }
};

BlockMap good_map(const MapText& map) {
  auto parsed = parse_bmap(map.text());
  EXPECT_TRUE(parsed) << parsed.error().describe();
  return parsed ? *std::move(parsed) : BlockMap();
}

void expect_refused(std::string_view text, std::string_view words,
                    ErrorCode code = ErrorCode::kCorruption) {
  const auto parsed = parse_bmap(text);
  ASSERT_FALSE(parsed) << words;
  EXPECT_EQ(parsed.error().code(), code) << parsed.error().describe();
  EXPECT_NE(parsed.error().describe().find(words), std::string::npos) << parsed.error().describe();
}

void expect_refused(const MapText& map, std::string_view words,
                    ErrorCode code = ErrorCode::kCorruption) {
  expect_refused(map.text(), words, code);
}

TEST(Bmap, RangesInBytes) {
  const BlockMap map = good_map({});
  EXPECT_EQ(map.image_size, 100000U);
  EXPECT_EQ(map.block_size, 4096U);
  EXPECT_EQ(map.algorithm, HashAlgorithm::kSha256);
  ASSERT_EQ(map.ranges.size(), 3U);
  EXPECT_EQ(map.ranges[0].offset, 0U);
  EXPECT_EQ(map.ranges[0].length, 8192U);
  EXPECT_EQ(map.ranges[1].offset, 12288U);
  EXPECT_EQ(map.ranges[1].length, 4096U);
  EXPECT_EQ(map.ranges[2].offset, 98304U);
  EXPECT_EQ(map.ranges[2].length, 1696U);  // cut where the image ends
  EXPECT_EQ(map.mapped_bytes(), 8192U + 4096 + 1696);
  EXPECT_TRUE(map.ranges[0].sum.empty());
}

TEST(Bmap, Versions) {
  for (const char* version : {"1.0", "1.2"}) {
    MapText map;
    map.version = version;
    EXPECT_FALSE(good_map(map).algorithm.has_value());
  }
  MapText sha1;
  sha1.version = "1.3";
  sha1.algorithm = HashAlgorithm::kSha1;
  sha1.mapped = "1";
  sha1.ranges = fmt::format("<Range sha1=\"{:040}\"> 2 </Range>", 0);
  EXPECT_EQ(good_map(sha1).algorithm, HashAlgorithm::kSha1);
  EXPECT_EQ(good_map(sha1).ranges.at(0).sum, std::string(20, '\0'));
  for (const char* version : {"1.4", "2.0", "2.9"}) {
    for (const HashAlgorithm algorithm : {HashAlgorithm::kSha256, HashAlgorithm::kSha512,
                                          HashAlgorithm::kSha1, HashAlgorithm::kMd5}) {
      MapText map;
      map.version = version;
      map.type = hash_name(algorithm);
      map.algorithm = algorithm;
      map.mapped = "1";
      map.ranges = fmt::format("<Range chksum=\"{}ab\"> 2-2 </Range>",
                               std::string(hash_digits(algorithm) - 2, '1'));
      const BlockMap parsed = good_map(map);
      EXPECT_EQ(parsed.algorithm, algorithm);
      EXPECT_EQ(parsed.ranges.at(0).sum,
                std::string(hash_digits(algorithm) / 2 - 1, '\x11') + '\xab');
    }
  }
  for (const char* version : {"3.0", "1.5", "0.9", "10.0"}) {
    MapText map;
    map.version = version;
    expect_refused(map, "version", ErrorCode::kUnsupported);
  }
  for (const char* version : {"", "2", "2.", "two", "-1.0", "99999999999999999999.0", "2.0.1"}) {
    MapText map;
    map.version = version;
    expect_refused(map, "is no version");
  }
  MapText type;
  type.type = "sha384";
  expect_refused(type, "sha384", ErrorCode::kUnsupported);
}

TEST(Bmap, OtherElementsMeanNothing) {
  MapText map;
  map.more = "<New a=\"1\">text<Range>77</Range><ImageSize>5</ImageSize></New>";
  map.ranges += "<Other> 1 </Other>";
  EXPECT_EQ(good_map(map).ranges.size(), 3U);
  map.head = "<?xml version=\"1.0\" ?>\n<!-- a map -->\n";
  EXPECT_EQ(good_map(map).image_size, 100000U);
  MapText empty;
  empty.size = empty.blocks = empty.mapped = "0";
  empty.ranges = "";
  EXPECT_TRUE(good_map(empty).ranges.empty());
}

TEST(Bmap, ItsOwnSum) {
  const std::string good = MapText().text();
  std::string bad = good;
  bad.replace(bad.find("the end"), 7, "The end");
  expect_refused(bad, "its own sum is wrong");
  bad = good;
  bad.replace(bad.find(" 0-1 "), 5, " 0-2 ");
  expect_refused(bad, "its own sum is wrong");
  bad = good;
  const size_t place = bad.find("<BmapFileChecksum> ") + 19;
  bad[place] = bad[place] == '1' ? '2' : '1';
  expect_refused(bad, "its own sum is wrong");
  bad = good;
  bad.insert(place, "&#48;");
  expect_refused(bad, "");
  bad = good;
  bad.replace(place, 64, "&#x31;" + good.substr(place + 1, 63));
  expect_refused(bad, "not as it is written");
  bad = good;
  bad.replace(place, 64, "");
  expect_refused(bad, "is no sum");
  bad = good;
  bad.replace(place - 1, 66 + sizeof("</BmapFileChecksum>") - 1, "");
  bad.replace(bad.find("<BmapFileChecksum>"), 18, "<BmapFileChecksum/>");
  expect_refused(bad, "is no sum");
  MapText none;
  none.version = "1.2";
  bad = none.text();
  bad.replace(bad.find("1.2"), 3, "1.3");
  expect_refused(bad, "'BmapFileSHA1' is missing");
  bad.replace(bad.find("1.3"), 3, "2.0");
  expect_refused(bad, "'ChecksumType' is missing");
}

TEST(Bmap, NumbersThatDoNotFitTogether) {
  const auto refused = [](std::string MapText::*field, const std::string& value,
                          std::string_view words) {
    MapText map;
    map.*field = value;
    expect_refused(map, words);
  };
  for (const std::string bad : {"", "x", "-1", "+1", "0x10", "1.5", "1 2", "9223372036854775808",
                                "18446744073709551615", "18446744073709551616"}) {
    for (const auto field :
         {&MapText::size, &MapText::block_size, &MapText::blocks, &MapText::mapped}) {
      refused(field, bad, "is no number");
    }
  }
  refused(&MapText::block_size, "0", "are not 25 blocks");
  refused(&MapText::block_size, "3999", "are not 25 blocks");
  refused(&MapText::size, "102401", "are not 25 blocks");
  refused(&MapText::size, "98304", "are not 25 blocks");
  refused(&MapText::size, "9223372036854775807", "are not 25 blocks");
  refused(&MapText::blocks, "24", "are not 24 blocks");
  refused(&MapText::mapped, "3", "should have 3");
  refused(&MapText::mapped, "5", "should have 5");
}

TEST(Bmap, TheLargestNumbers) {
  MapText map;
  map.size = std::to_string(kMaxFileSize);
  map.blocks = map.mapped = map.size;
  map.block_size = "1";
  map.ranges = fmt::format("<Range>0-{}</Range>", kMaxFileSize - 1);
  EXPECT_EQ(good_map(map).mapped_bytes(), kMaxFileSize);
  map.block_size = std::to_string(kMaxFileSize);
  map.blocks = map.mapped = "1";
  map.ranges = "<Range>0</Range>";
  EXPECT_EQ(good_map(map).mapped_bytes(), kMaxFileSize);
  map.block_size = std::to_string(kMaxFileSize / 2 + 1);
  map.blocks = map.mapped = "2";
  map.ranges = "<Range>0</Range><Range>1</Range>";
  EXPECT_EQ(good_map(map).ranges.at(1).length, kMaxFileSize / 2);
}

TEST(Bmap, RangesThatAreWrong) {
  const auto refused = [](const std::string& ranges, std::string_view words) {
    MapText map;
    map.ranges = ranges;
    expect_refused(map, words);
  };
  refused("<Range>0-1</Range><Range>1-2</Range>", "overlaps");
  refused("<Range>2-3</Range><Range>0-1</Range>", "overlaps");
  refused("<Range>3-0</Range>", "does not ascend");
  refused("<Range>22-25</Range>", "no block 25");
  refused("<Range>0-9223372036854775807</Range>", "no block 9223372036854775807");
  for (const char* bad : {"", " ", "-", "1-", "-1", "1-2-3", "0--1", "a-b", "0,1",
                          "0-18446744073709551615", "18446744073709551615"}) {
    refused(fmt::format("<Range>{}</Range>", bad), "is no number");
  }
  refused("<Range>0-3<x/></Range>", "has an element within it");
  refused("<Range chksum=\"\">0-3</Range>", "is no sum");
  refused("<Range chksum=\"abc\">0-3</Range>", "is no sum");
  refused("<Range chksum=\"zz\">0-3</Range>", "is no sum");
  refused("<Range chksum=\"-1\">0-3</Range>", "is no sum");
  refused("<Range chksum=\"abcd\">0-3</Range>", "is no sha256");
  refused("<Range>" + std::string(5000, ' ') + "0-3</Range>", "more text");
  refused("", "should have 4");
}

TEST(Bmap, HostileXml) {
  MapText map;
  map.head =
      "<!DOCTYPE bmap [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"
      "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
  map.mapped = "&c;";
  expect_refused(map, "DOCTYPE");
  map.head = "<!DOCTYPE bmap SYSTEM \"file:///etc/passwd\">";
  expect_refused(map, "DOCTYPE");
  map.head.clear();
  expect_refused(map, "undefined entity");
  std::string deep;
  for (int n = 0; n < 100000; ++n) deep += "<x>";
  MapText nested;
  nested.more = deep;
  expect_refused(nested, "too deep");
  MapText twice;
  twice.more = "<BlockSize>512</BlockSize>";
  expect_refused(twice, "'BlockSize' is there twice");
  twice.more = "<BlockMap></BlockMap>";
  expect_refused(twice, "'BlockMap' is there twice");
  const std::string good = MapText().text();
  for (size_t length = 0; length < good.find("</bmap>"); length += 7) {
    expect_refused(std::string_view(good).substr(0, length), "line");
  }
  expect_refused("<html></html>", "it is no block map");
  expect_refused("<bmap version=\"2.0\"/>", "is missing");
  expect_refused(std::string("\0\0\0\0", 4), "line 1");
  expect_refused("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n", "gpg",
                 ErrorCode::kUnsupported);
}

TEST(Bmap, OfAFile) {
  const std::string text = MapText().text();
  MemoryFile good("a.bmap", text_bytes(text));
  ASSERT_TRUE(read_bmap(good));
  MemoryFile bad("a.bmap", text_bytes(text.substr(0, 50)));
  const auto cut = read_bmap(bad);
  ASSERT_FALSE(cut);
  EXPECT_TRUE(cut.error().describe().starts_with("'a.bmap'")) << cut.error().describe();
  MemoryFile large("a.bmap", kMostText + 1);
  const auto refused = read_bmap(large);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
}

// An image, and its map: short ranges, and one of several pieces.
class CopyMapped : public testing::Test {
 protected:
  CopyMapped() : random_(test::run_seed()), content_(test::random_bytes(5 * kMiB + 777, random_)) {
    map_.image_size = content_.size();
    map_.block_size = 4096;
    map_.algorithm = HashAlgorithm::kSha256;
    std::fill_n(content_.begin() + 8192, 4096, std::byte{0});
    add(0, 4096);
    add(8192, 8192);
    add(kMiB, 3 * kMiB + 4096);
    add(5 * kMiB, 777);
  }

  void add(uint64_t offset, uint64_t length) {
    std::array<std::byte, 64> sum{};
    Hash hash(HashAlgorithm::kSha256);
    hash.update(std::span(content_).subspan(offset, length));
    const size_t size = hash.finish(sum);
    map_.ranges.push_back(
        {offset, length, std::string(reinterpret_cast<const char*>(sum.data()), size)});
  }

  Result<void> check(const Bytes& content, unsigned jobs) {
    MemoryFile file("image", content);
    RawImage image(file, file.size());
    progress_.reset();
    return ops::check_mapped(image, map_, Job{progress_, cancel_, jobs});
  }

  Result<void> copy(const Bytes& content, File& target, unsigned jobs) {
    MemoryFile file("image", content);
    RawImage image(file, file.size());
    progress_.reset();
    return ops::copy_mapped(image, map_, target, Job{progress_, cancel_, jobs});
  }

  static void expect_corrupt(const Result<void>& done, std::string_view words) {
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kCorruption);
    EXPECT_NE(done.error().describe().find(words), std::string::npos) << done.error().describe();
  }

  std::mt19937_64 random_;
  Bytes content_;
  BlockMap map_;
  Progress progress_;
  Cancel cancel_;
};

TEST_F(CopyMapped, WhatIsNotMappedStays) {
  for (const unsigned jobs : {1U, 4U}) {
    const Bytes old(content_.size() + 100, std::byte{0xee});
    MemoryFile target("target", old);
    ASSERT_TRUE(check(content_, jobs));
    EXPECT_EQ(progress_.transferred(), map_.mapped_bytes());
    ASSERT_TRUE(copy(content_, target, jobs));
    EXPECT_EQ(progress_.transferred(), map_.mapped_bytes());
    Bytes expected = old;
    for (const BlockMap::Range& range : map_.ranges) {
      std::copy_n(content_.begin() + static_cast<ptrdiff_t>(range.offset), range.length,
                  expected.begin() + static_cast<ptrdiff_t>(range.offset));
    }
    EXPECT_EQ(test::content_of(target), expected);
  }
}

TEST_F(CopyMapped, WrongSums) {
  for (const unsigned jobs : {1U, 4U}) {
    for (const BlockMap::Range& range : map_.ranges) {
      for (const uint64_t at : {range.offset, range.offset + range.length - 1}) {
        Bytes bad = content_;
        bad[at] ^= std::byte{1};
        MemoryFile target("target", content_.size());
        const std::string words =
            fmt::format("{} bytes from byte {} on have another sha256", range.length, range.offset);
        expect_corrupt(check(bad, jobs), words);
        expect_corrupt(copy(bad, target, jobs), words);
      }
    }
  }
  Bytes unmapped = content_;
  unmapped[5000] ^= std::byte{1};
  EXPECT_TRUE(check(unmapped, 2));
}

TEST_F(CopyMapped, OtherSizes) {
  Bytes content = content_;
  content.pop_back();
  MemoryFile target("target", content_.size());
  expect_corrupt(check(content, 2), "bytes, not");
  expect_corrupt(copy(content, target, 2), "bytes, not");
  content = content_;
  content.resize(content.size() + 3 * kMiB);
  EXPECT_TRUE(check(content, 2));
  content.back() = std::byte{1};
  expect_corrupt(check(content, 2), "it has more than the");
}

TEST_F(CopyMapped, WithoutSumsAndWithoutRanges) {
  map_.algorithm.reset();
  for (BlockMap::Range& range : map_.ranges) range.sum.clear();
  content_[0] ^= std::byte{1};
  MemoryFile target("target", content_.size());
  EXPECT_TRUE(check(content_, 2));
  ASSERT_TRUE(copy(content_, target, 2));
  EXPECT_EQ(test::content_of(target)[0], content_[0]);
  map_.ranges.clear();
  MemoryFile other("target", content_.size());
  EXPECT_TRUE(check(content_, 2));
  ASSERT_TRUE(copy(content_, other, 2));
  EXPECT_TRUE(other.extent_at(0, other.size())->zero);
}

TEST_F(CopyMapped, Interrupted) {
  cancel_.request();
  MemoryFile target("target", content_.size());
  const auto checked = check(content_, 2);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), ErrorCode::kInterrupted);
  const auto copied = copy(content_, target, 2);
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code(), ErrorCode::kInterrupted);
}

// One that is hashed alone, with a thread that reads ahead.
TEST(CopyMappedLong, ALongRange) {
  MemoryFile file("image", 80 * kMiB);
  ASSERT_TRUE(file.write_at(70 * kMiB, text_bytes("something")));
  RawImage image(file, file.size());
  BlockMap map;
  map.image_size = file.size();
  map.block_size = 4096;
  map.algorithm = HashAlgorithm::kMd5;
  map.ranges.push_back({0, file.size(), std::string(16, 'x')});
  Progress progress;
  const Cancel cancel;
  const Job job{progress, cancel, 3};
  const auto wrong = ops::check_mapped(image, map, job);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), ErrorCode::kCorruption);
  map.ranges[0].sum.clear();
  EXPECT_TRUE(ops::check_mapped(image, map, job));
}

}  // namespace
}  // namespace snaptool::bmap
