// SPDX-License-Identifier: Apache-2.0
#include "cli/support/version.h"

namespace snaptool::cli {

const std::string_view kVersion = SNAPTOOL_VERSION;
const std::string_view kProgram = "snaptool " SNAPTOOL_VERSION;

}  // namespace snaptool::cli
