// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copier.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "libsnap/io/memory_file.h"
#include "libsnap/io/posix_file.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/scratch.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

TEST(Copier, RandomOpsCopyWhatTheyName) {
  std::mt19937_64 random(run_seed());
  const Cancel cancel;
  for (int n = 0; n < case_count(30); ++n) {
    Bytes from = random_bytes(4 * kMiB, random);
    for (int zeros = n % 5; zeros > 0; --zeros) {
      const size_t at = random() % from.size();
      std::fill_n(from.begin() + static_cast<ptrdiff_t>(at),
                  std::min<size_t>(random() % 300'000, from.size() - at), std::byte{0});
    }
    Bytes model = random_bytes(6 * kMiB, random);
    MemoryFile source("source", from);
    MemoryFile target("target", model);
    std::vector<CopyOp> ops;
    uint64_t total = 0;
    for (uint64_t at = random() % 4096; at < model.size();) {
      const uint64_t most = n % 3 == 0 ? 3 * kMiB : 9000;
      const uint64_t length =
          std::min<uint64_t>({1 + random() % most, model.size() - at, from.size()});
      ops.push_back({random() % (from.size() - length + 1), at, length});
      // Now and then the next op continues this one on both sides, or only in the target.
      at += length + (random() % 3 == 0 ? random() % 9000 : 0);
      total += length;
    }
    for (const CopyOp& op : ops) {
      std::copy_n(from.begin() + static_cast<ptrdiff_t>(op.source), op.length,
                  model.begin() + static_cast<ptrdiff_t>(op.target));
    }
    Progress progress;
    Copier copier(source, target, 512U << random() % 12,
                  random() % 2 == 0 ? ZeroMode::kKeep : ZeroMode::kPunch);
    ASSERT_TRUE(copier.copy(ops, Job{progress, cancel, 1 + static_cast<unsigned>(random() % 4)}));
    ASSERT_EQ(content_of(target), model);
    EXPECT_EQ(progress.transferred(), total);
    const Job job{progress, cancel, 2};
    EXPECT_TRUE(copier.compare(ops, job));
    const CopyOp& op = ops[random() % ops.size()];
    const uint64_t at = op.target + random() % op.length;
    const std::array<std::byte, 1> other{~model[at]};
    ASSERT_TRUE(target.write_at(at, other));
    const auto compared = copier.compare(ops, job);
    ASSERT_FALSE(compared);
    EXPECT_NE(compared.error().describe().find("does not read back"), std::string::npos);
    EXPECT_TRUE(copier.compare(std::span(ops).first(static_cast<size_t>(&op - ops.data())), job));
  }
}

TEST(Copier, WhatLiesBetweenTheComparedMayBeUnreadable) {
  const Cancel cancel;
  Progress progress;
  MemoryFile source("source", kMiB);
  MemoryFile target_data("target", kMiB);
  uint64_t bad = 0;
  FaultFile target(target_data, [&](const FileOperation& operation) -> Result<void> {
    const bool hit = operation.offset <= bad && bad < operation.offset + operation.length;
    return hit ? Result<void>(Error(ErrorCode::kIo, "a bad sector")) : Result<void>();
  });
  const std::vector<CopyOp> ops{{0, 0, 4096}, {4096, 12288, 4096}};
  bad = 9000;
  EXPECT_TRUE(Copier(source, target, 4096, ZeroMode::kKeep).compare(ops, Job{progress, cancel, 1}));
  bad = 13000;
  EXPECT_FALSE(
      Copier(source, target, 4096, ZeroMode::kKeep).compare(ops, Job{progress, cancel, 1}));
}

TEST(Copier, PiecesAreAtMostOneMebibyteAndNeighboursGoTogether) {
  std::vector<FileOperation> reads;
  std::vector<FileOperation> writes;
  MemoryFile source_data("source", Bytes(10 * kMiB, std::byte{7}));
  MemoryFile target_data("target", 10 * kMiB);
  FaultFile source(source_data, [&](const FileOperation& operation) -> Result<void> {
    reads.push_back(operation);
    return {};
  });
  FaultFile target(target_data, [&](const FileOperation& operation) -> Result<void> {
    writes.push_back(operation);
    return {};
  });
  Copier copier(source, target, 4096, ZeroMode::kKeep);
  Progress progress;
  const Cancel cancel;
  const std::vector<CopyOp> ops = {
      {0, 0, 5 * kMiB}, {6 * kMiB, 5 * kMiB, 4096}, {0, 7 * kMiB, 4096}};
  ASSERT_TRUE(copier.copy(ops, Job{progress, cancel, 1}));
  ASSERT_EQ(writes.size(), 7U);  // five whole ones, then the two small ones apart
  for (const auto& operation : reads) EXPECT_LE(operation.length, kMiB);
  for (const auto& operation : writes) EXPECT_LE(operation.length, kMiB);

  reads.clear();
  writes.clear();
  const std::vector<CopyOp> side_by_side = {{8192, 0, 4096}, {0, 4096, 4096}, {4096, 8192, 4096}};
  ASSERT_TRUE(copier.copy(side_by_side, Job{progress, cancel, 1}));
  EXPECT_EQ(reads.size(), 2U);
  ASSERT_EQ(writes.size(), 1U);
  EXPECT_EQ(writes[0].length, 12288U);
}

TEST(Copier, StopsWithinAPieceOfScatteredOps) {
  MemoryFile source("source", Bytes(kMiB, std::byte{7}));
  MemoryFile target_data("target", 2 * kMiB);
  Cancel cancel;
  int writes = 0;
  FaultFile target(target_data, [&](const FileOperation&) -> Result<void> {
    if (++writes == 3) cancel.request();
    return {};
  });
  std::vector<CopyOp> ops;
  for (uint64_t at = 0; at < kMiB; at += 4096) ops.push_back({at, 2 * at, 4096});
  Progress progress;
  Copier copier(source, target, 4096, ZeroMode::kKeep);
  const auto done = copier.copy(ops, Job{progress, cancel, 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kInterrupted);
  EXPECT_EQ(writes, 3);
}

// What of a file is allocated, bytes.
uint64_t allocated(const std::filesystem::path& path) {
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0);
  return static_cast<uint64_t>(st.st_blocks) * 512;
}

TEST(Copier, ZerosLeaveHolesAndMakeThem) {
  const Scratch scratch;
  std::mt19937_64 random(run_seed());
  const auto path = [&](const char* name) { return (scratch.path() / name).string(); };
  // 8 MiB: a hole; a MiB of zeros that are allocated; data.
  {
    std::ofstream file(path("source"));
    file.seekp(4 * kMiB);
    file << std::string(kMiB, '\0') << std::string(3 * kMiB, 'x');
  }
  std::filesystem::resize_file(path("source"), 8 * kMiB);
  for (const bool punch : {true, false}) {
    for (const bool dense : {true, false}) {
      { std::ofstream(path("target")) << std::string(dense ? 8 * kMiB : 0, 'y'); }
      std::filesystem::resize_file(path("target"), 8 * kMiB);
      const auto source = PosixFile::open(path("source"), {});
      const auto target = PosixFile::open(path("target"), {.access = Access::kReadWrite});
      ASSERT_TRUE(source && target);
      Copier copier(**source, **target, 64 * kKiB, punch ? ZeroMode::kPunch : ZeroMode::kKeep);
      Progress progress;
      const Cancel cancel;
      const std::vector<CopyOp> ops{{0, 0, 8 * kMiB}};
      ASSERT_TRUE(copier.copy(ops, Job{progress, cancel, 2}));
      EXPECT_EQ(progress.transferred(), 8 * kMiB);
      EXPECT_EQ(content_of(**target), content_of(**source));
      ASSERT_TRUE((*target)->flush());
      // Room for the file system's own.
      const uint64_t expected = dense && !punch ? 8 * kMiB : 3 * kMiB;
      EXPECT_GE(allocated(path("target")), expected);
      EXPECT_LE(allocated(path("target")), expected + 128 * kKiB);
    }
  }
}

}  // namespace
}  // namespace snaptool::test
