// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace snaptool::cli {

// "0.1.0"
extern const std::string_view kVersion;
// "snaptool 0.1.0": what made a file.
extern const std::string_view kProgram;

}  // namespace snaptool::cli
