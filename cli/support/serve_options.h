// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/support/invocation.h"

namespace snaptool::cli {

// That the options of serve go together. Errors: kInvalidArgument.
Result<void> check_serve_options(const Invocation& invocation);
// What the plugin is told: the options that were given, by their names, after those of nbdkit.
std::vector<std::string> plugin_words(const Invocation& invocation);

}  // namespace snaptool::cli
