// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/support/invocation.h"

namespace snaptool::cli {

// 'merge PARENT CHILD' for an image that is over another: nothing where the last operand is none,
// and so a store. Returns the exit status. Errors: those of ops::merge_child and ops::convert;
// kInvalidArgument for options of a store's merge.
Result<std::optional<int>> merge_if_child(const Invocation& invocation);

}  // namespace snaptool::cli
