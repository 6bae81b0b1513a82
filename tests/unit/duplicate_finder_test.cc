// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/duplicate_finder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <unordered_map>

#include "tests/support/seed.h"

namespace snaptool::test {
namespace {

// Feeds the sequence as often as asked; returns for each index how often it was called a
// repetition.
std::map<size_t, int> repetitions(DuplicateFinder& finder, const std::vector<uint64_t>& sequence,
                                  int* passes) {
  std::map<size_t, int> told;
  *passes = 0;
  do {
    ++*passes;
    for (size_t i = 0; i < sequence.size(); ++i) {
      if (finder.add(sequence[i])) ++told[i];
    }
  } while (finder.needs_another_pass());
  return told;
}

void check(const std::vector<uint64_t>& sequence, size_t budget, int most_passes) {
  std::unordered_map<uint64_t, int> seen;
  std::map<size_t, int> expected;
  for (size_t i = 0; i < sequence.size(); ++i) {
    if (seen[sequence[i]]++ > 0) expected[i] = 1;
  }
  DuplicateFinder finder(budget, 42);
  int passes = 0;
  EXPECT_EQ(repetitions(finder, sequence, &passes), expected);
  EXPECT_LE(passes, most_passes);
}

TEST(DuplicateFinder, SmallNumbersTakeOnePass) {
  std::mt19937_64 random(run_seed());
  std::vector<uint64_t> sequence;
  for (int i = 0; i < 20000; ++i) sequence.push_back(random() % 32768);
  check(sequence, 4096, 1);
}

TEST(DuplicateFinder, BeyondTheBitsItUsesWindows) {
  std::mt19937_64 random(run_seed() + 1);
  std::vector<uint64_t> sequence;
  for (int i = 0; i < 20000; ++i) sequence.push_back(random() % (3 * 32768));
  check(sequence, 4096, 4);
}

TEST(DuplicateFinder, ScatteredNumbersAreShared) {
  std::mt19937_64 random(run_seed() + 2);
  std::vector<uint64_t> sequence;
  for (int i = 0; i < 3000; ++i) {
    sequence.push_back(random() >> 10);
    if (random() % 3 == 0) sequence.push_back(sequence[random() % sequence.size()]);
    if (random() % 3 == 0) sequence.push_back(random() % 100);
  }
  check(sequence, 4096, 30);
}

TEST(DuplicateFinder, TheLargestNumber) {
  check({UINT64_MAX - 1, 1, UINT64_MAX - 1, 0, 0}, 4096, 3);
  check({UINT64_MAX, 1, UINT64_MAX - 1, 0}, 4096, 3);
  check({UINT64_MAX, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX}, 4096, 3);
}

}  // namespace
}  // namespace snaptool::test
