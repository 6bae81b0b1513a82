// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "libsnap/base/error.h"

namespace snaptool::library {

// " (option force: do it anyway)"; empty where no option of the library helps.
std::string remedy_text(Remedy remedy);

}  // namespace snaptool::library
