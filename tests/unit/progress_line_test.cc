// SPDX-License-Identifier: Apache-2.0
#include "cli/support/progress_line.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "libsnap/base/progress.h"
#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

constexpr double kStep = 0.2;  // seconds

TEST(ProgressLine, IsNeverWiderThanItsRoom) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, 5 * kGiB, uint64_t{1} << 62}) {
    Progress progress;
    progress.set_size(size);
    ProgressMeter meter;
    double elapsed = 0;
    for (const uint64_t bytes : {uint64_t{0}, size / 1000, size / 3, size / 2}) {
      progress.add(bytes);
      elapsed = elapsed * 50 + 7;
      const ProgressFigures figures = meter.update(progress, elapsed);
      for (size_t width = 1; width < 200; ++width) {
        EXPECT_LE(progress_line("reading the diffs", figures, width).size(), width);
      }
    }
    const ProgressFigures last = meter.finish(progress, elapsed);
    for (size_t width = 1; width < 200; ++width) {
      EXPECT_LE(progress_line("reading the diffs", last, width).size(), width);
    }
  }
}

TEST(ProgressLine, OnlyTheEndIsAHundred) {
  Progress progress;
  progress.set_size(100000);
  progress.add(99999);
  ProgressMeter meter;
  EXPECT_NE(progress_line("x", meter.update(progress, 1), 0).find("x:  99.9%"), std::string::npos);
  progress.add(1);
  EXPECT_NE(progress_line("x", meter.update(progress, 2), 0).find("x: 100.0%"), std::string::npos);
}

TEST(ProgressLine, WhereTheSizeIsNotKnownThereIsNoShare) {
  Progress progress;
  progress.add(3 * kMiB);
  ProgressMeter meter;
  const std::string line = progress_line("x", meter.update(progress, 3), 80);
  EXPECT_EQ(line, "x:   3.00 MiB in  0:03   1.00 MiB/s");
}

// A disk of data and holes at a steady pace, with pauses: the true time left is known.
TEST(ProgressMeter, TimeLeftDoesNotJump) {
  constexpr uint64_t kRounds = 400;
  Progress progress;
  progress.set_size(kRounds * 30 * kMiB);
  ProgressMeter meter;
  std::optional<double> before;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    for (int part = 0; part < 4; ++part) {
      if (part < 2) progress.add(5 * kMiB);
      if (part == 2) progress.skip(20 * kMiB);  // and nothing in the last
      const double elapsed = kStep * static_cast<double>((round - 1) * 4 + part + 1);
      const auto left = meter.update(progress, elapsed).left;
      if (elapsed > 15) {
        ASSERT_TRUE(left.has_value());
        const double really = kStep * static_cast<double>(kRounds * 4) - elapsed;
        EXPECT_NEAR(*left, really, 2 + really * 0.1) << elapsed;
        EXPECT_NEAR(*left, *before - kStep, 1 + really * 0.01) << elapsed;
      }
      before = left;
    }
  }
}

TEST(ProgressMeter, HolesAreNoSpeed) {
  Progress progress;
  progress.set_size(kGiB * kKiB);
  ProgressMeter meter;
  double rate = 0;
  for (int i = 1; i <= 100; ++i) {
    progress.add(kMiB);
    if (i % 10 == 0) progress.skip(kGiB);
    rate = meter.update(progress, i * kStep).rate;
  }
  EXPECT_NEAR(rate, 5 * kMiB, kMiB / 10.0);
  EXPECT_NEAR(meter.finish(progress, 100 * kStep).rate, 5 * kMiB, 1);
}

}  // namespace
}  // namespace snaptool::cli
