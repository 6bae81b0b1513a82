// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace snaptool::test {

// The seed of this run: SNAPTOOL_SEED, or 1. Printed once, so that a failure can be replayed.
uint64_t run_seed();

// How many random cases or crash states to try: `normal` at full effort (SNAPTOOL_EFFORT=100, as
// the deep suite sets it), less in the default suite; at least 1.
int case_count(int normal);
size_t scaled(size_t normal);

}  // namespace snaptool::test
