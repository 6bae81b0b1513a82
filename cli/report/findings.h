// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/support/json.h"
#include "libsnap/snap/store/defect.h"

namespace snaptool::cli {

// Defects as verify and repair print them.

// Two arrays and an object: "findings" and "counts" (by code).
void add_findings(Json& json, const FindingLog& log);
// Those that repeat are a few lines and a count, or all that are kept. `advises`: says what fixes
// them.
std::string findings_text(const FindingLog& log, bool all, bool advises = true);

}  // namespace snaptool::cli
