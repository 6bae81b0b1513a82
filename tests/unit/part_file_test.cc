// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/part_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "libsnap/io/memory_file.h"
#include "libsnap/io/posix_file.h"
#include "tests/support/model.h"
#include "tests/support/scratch.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

constexpr size_t kFiles = 3;
constexpr uint64_t kFileBytes = 64 * kKiB;

// Where each byte lies, one by one: file and offset; file kFiles for zeros.
using ByteMap = std::vector<std::pair<size_t, uint64_t>>;

struct Volume {
  std::vector<std::shared_ptr<MemoryFile>> files;
  std::unique_ptr<PartFile> part;
  ByteMap map;
};

// Segments of every kind. Every byte of a file is used once at most, so that what is written to one
// place shows in no other.
Volume random_volume(std::mt19937_64& random) {
  Volume volume;
  std::vector<uint64_t> used(kFiles);
  for (size_t i = 0; i < kFiles; ++i) {
    volume.files.push_back(
        std::make_shared<MemoryFile>("f" + std::to_string(i), random_bytes(kFileBytes, random)));
    used[i] = random() % 3000;
  }
  std::vector<PartSegment> segments;
  for (int n = 1 + static_cast<int>(random() % 6); n > 0; --n) {
    PartSegment segment;
    const size_t legs = random() % (kFiles + 1);
    segment.stripe = legs > 1 ? 1 + random() % 700 : 0;
    const uint64_t rows = 1 + random() % 5;
    const uint64_t each = legs > 1 ? rows * segment.stripe : 1 + random() % 5000;
    segment.length = each * std::max<size_t>(1, legs);
    const size_t first = random() % kFiles;
    std::vector<uint64_t> starts;
    for (size_t leg = 0; leg < legs; ++leg) {
      const size_t file = (first + leg) % kFiles;
      segment.legs.push_back({volume.files[file], used[file]});
      starts.push_back(used[file]);
      used[file] += each;
    }
    for (uint64_t i = 0; i < segment.length; ++i) {
      if (legs == 0) {
        volume.map.emplace_back(kFiles, 0);
      } else if (legs == 1) {
        volume.map.emplace_back(first, starts[0] + i);
      } else {
        const uint64_t stripe = i / segment.stripe;
        volume.map.emplace_back(
            (first + stripe % legs) % kFiles,
            starts[stripe % legs] + stripe / legs * segment.stripe + i % segment.stripe);
      }
    }
    segments.push_back(std::move(segment));
  }
  volume.part = std::make_unique<PartFile>("part", std::move(segments));
  return volume;
}

Bytes naive_read(const Volume& volume) {
  std::vector<Bytes> files;
  for (const auto& file : volume.files) files.push_back(content_of(*file));
  Bytes bytes;
  for (const auto& [file, offset] : volume.map) {
    bytes.push_back(file == kFiles ? std::byte{0} : files[file][offset]);
  }
  return bytes;
}

TEST(PartFile, BytesLieWhereANaiveMapSaysTheyDo) {
  std::mt19937_64 random(run_seed());
  for (int n = 0; n < case_count(60); ++n) {
    Volume volume = random_volume(random);
    PartFile& part = *volume.part;
    ASSERT_EQ(part.size(), volume.map.size());
    ASSERT_EQ(content_of(part), naive_read(volume));
    for (int write = 0; write < 20; ++write) {
      const uint64_t at = random() % part.size();
      const uint64_t length = 1 + random() % std::min<uint64_t>(4000, part.size() - at);
      const auto begin = volume.map.begin() + static_cast<ptrdiff_t>(at);
      const bool zeros_only = std::any_of(begin, begin + static_cast<ptrdiff_t>(length),
                                          [](const auto& byte) { return byte.first == kFiles; });
      std::vector<Bytes> files;
      for (const auto& file : volume.files) files.push_back(content_of(*file));
      const Bytes data = write % 3 == 0 ? Bytes(length) : random_bytes(length, random);
      const auto written =
          write % 3 == 0 ? part.zero_at(at, length, ZeroMode::kKeep) : part.write_at(at, data);
      ASSERT_EQ(written.has_value(), !zeros_only);
      if (zeros_only) continue;
      for (uint64_t i = 0; i < length; ++i) {
        const auto& [file, offset] = volume.map[at + i];
        files[file][offset] = data[i];
      }
      for (size_t i = 0; i < kFiles; ++i) ASSERT_EQ(content_of(*volume.files[i]), files[i]);
      ASSERT_EQ(content_of(part), naive_read(volume));
    }
    for (uint64_t at = 0; at < part.size();) {
      const auto extent = part.extent_at(at, part.size() - at);
      ASSERT_TRUE(extent);
      for (uint64_t i = 0; i < extent->length; ++i) {
        const auto& [file, offset] = volume.map[at + i];
        File* const expected =
            file == kFiles ? static_cast<File*>(&part) : volume.files[file].get();
        ASSERT_EQ(extent->file, expected);
        if (file < kFiles) {
          ASSERT_EQ(extent->file_offset.value() + i, offset);
        }
      }
      at += extent->length;
    }
  }
}

TEST(PartFile, WhatItsFileLacksIsMissingAndNoHole) {
  const Scratch scratch;
  const std::string path = (scratch.path() / "short").string();
  std::ofstream(path).close();
  std::filesystem::resize_file(path, 3000);  // one hole
  const std::shared_ptr<File> file = PosixFile::open(path, {}).value();
  PartFile part("part", {{5000, {{file, 1000}}, 0}});
  Bytes out(2000);
  EXPECT_TRUE(part.read_at(0, out));
  const auto past = part.read_at(1, out);
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().code(), ErrorCode::kCorruption);
  const auto hole = part.extent_at(0, 5000);
  ASSERT_TRUE(hole);
  EXPECT_TRUE(hole->zero);
  EXPECT_EQ(hole->length, 2000U);
  const auto missing = part.extent_at(2000, 3000);
  ASSERT_TRUE(missing);
  EXPECT_FALSE(missing->zero);
  const auto memory = std::make_shared<MemoryFile>("short", 3000);
  PartFile writable("part", {{5000, {{memory, 1000}}, 0}});
  EXPECT_FALSE(writable.write_at(1500, out));
  EXPECT_EQ(memory->size(), 3000U);
  EXPECT_EQ(part.resize(6000).error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace snaptool::test
