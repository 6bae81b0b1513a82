// SPDX-License-Identifier: Apache-2.0
#include "tests/support/seed.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace snaptool::test {
namespace {

constexpr size_t kDefaultEffort = 3;  // percent

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* given = std::getenv(name);  // NOLINT: read before any thread is started
  return given != nullptr ? std::strtoull(given, nullptr, 0) : otherwise;
}

}  // namespace

uint64_t run_seed() {
  static const uint64_t seed = [] {
    const uint64_t value = number_from_environment("SNAPTOOL_SEED", 1);
    std::printf("seed %llu (replay with SNAPTOOL_SEED=%llu)\n",
                static_cast<unsigned long long>(value), static_cast<unsigned long long>(value));
    return value;
  }();
  return seed;
}

size_t scaled(size_t normal) {
  return std::max<size_t>(
      1, normal * number_from_environment("SNAPTOOL_EFFORT", kDefaultEffort) / 100);
}

int case_count(int normal) { return static_cast<int>(scaled(static_cast<size_t>(normal))); }

}  // namespace snaptool::test
