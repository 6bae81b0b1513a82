// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

// Linked into a program, replaces its operator new by one that fails when told to.
namespace snaptool::testing {

// The `nth` allocation from now on fails, counted from 1 over all threads; with `onwards`, so do
// all that follow it. 0: none does.
void fail_allocation(int64_t nth, bool onwards);

}  // namespace snaptool::testing
