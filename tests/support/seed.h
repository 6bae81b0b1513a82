// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace snaptool::test {

// The seed of this run: SNAPTOOL_SEED if set, otherwise new each time. Printed once, so that a
// failure can be replayed.
uint64_t run_seed();

// How many random cases to try: `normal`, or SNAPTOOL_CASES for longer runs.
int case_count(int normal);

// `normal` of something else than cases, scaled as SNAPTOOL_CASES scales 400 of these; at least 1.
size_t scaled(size_t normal);

}  // namespace snaptool::test
