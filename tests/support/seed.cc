// SPDX-License-Identifier: Apache-2.0
#include "tests/support/seed.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace snaptool::test {

uint64_t run_seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("SNAPTOOL_SEED");  // NOLINT: read before any thread is started
    const uint64_t value =
        given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device()();
    std::printf("seed %llu (replay with SNAPTOOL_SEED=%llu)\n",
                static_cast<unsigned long long>(value), static_cast<unsigned long long>(value));
    return value;
  }();
  return seed;
}

int case_count(int normal) {
  const char* given = std::getenv("SNAPTOOL_CASES");    // NOLINT: read before any thread is started
  return given != nullptr ? std::atoi(given) : normal;  // NOLINT: a number typed by the developer
}

size_t scaled(size_t normal) {
  return std::max<size_t>(1, normal * static_cast<size_t>(case_count(400)) / 400);
}

}  // namespace snaptool::test
