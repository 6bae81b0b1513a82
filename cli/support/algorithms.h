// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "cli/support/invocation.h"
#include "libsnap/base/hash.h"

namespace snaptool::cli {

// What --algorithm lists; SHA-256 alone where it is not given. Errors: kInvalidArgument.
Result<std::vector<HashAlgorithm>> algorithms_of(const Invocation& invocation);

}  // namespace snaptool::cli
