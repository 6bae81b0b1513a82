// SPDX-License-Identifier: Apache-2.0
#include "libsnap/copy/copier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "libsnap/io/memory_file.h"
#include "tests/support/fault_file.h"
#include "tests/support/model.h"
#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

TEST(Copier, RandomOpsCopyWhatTheyName) {
  std::mt19937_64 random(run_seed());
  const Cancel cancel;
  for (int n = 0; n < case_count(30); ++n) {
    const Bytes from = random_bytes(4 * kMiB, random);
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
    Copier copier(source, target);
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
  EXPECT_TRUE(Copier(source, target).compare(ops, Job{progress, cancel, 1}));
  bad = 13000;
  EXPECT_FALSE(Copier(source, target).compare(ops, Job{progress, cancel, 1}));
}

TEST(Copier, PiecesAreAtMostOneMebibyteAndNeighboursGoTogether) {
  std::vector<FileOperation> reads;
  std::vector<FileOperation> writes;
  MemoryFile source_data("source", 10 * kMiB);
  MemoryFile target_data("target", 10 * kMiB);
  FaultFile source(source_data, [&](const FileOperation& operation) -> Result<void> {
    reads.push_back(operation);
    return {};
  });
  FaultFile target(target_data, [&](const FileOperation& operation) -> Result<void> {
    writes.push_back(operation);
    return {};
  });
  Copier copier(source, target);
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
  MemoryFile source("source", kMiB);
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
  Copier copier(source, target);
  const auto done = copier.copy(ops, Job{progress, cancel, 1});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kInterrupted);
  EXPECT_EQ(writes, 3);
}

}  // namespace
}  // namespace snaptool::test
