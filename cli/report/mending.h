// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "libsnap/snap/store/defect.h"

namespace snaptool::cli {

// What mends a defect: a phrase.
std::string_view mending_of(DefectCode code);

}  // namespace snaptool::cli
