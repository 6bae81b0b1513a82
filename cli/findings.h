// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "libsnap/snap/defect.h"

namespace snaptool::cli {

// Defects as verify and repair print them.

// Two arrays and an object: "findings" and "counts" (by code).
void add_findings(nlohmann::ordered_json& json, const FindingLog& log);
std::string findings_text(const FindingLog& log);

}  // namespace snaptool::cli
