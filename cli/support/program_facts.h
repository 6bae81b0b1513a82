// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "libsnap/base/result.h"

namespace snaptool::cli {

// What a report says of the run that made it.
struct ProgramFacts {
  std::string host;
  std::string sum;  // SHA-256 of the program's own file
};
// Requires: no sandbox yet, which hides the file. Errors: kIo.
Result<ProgramFacts> program_facts();

std::string host_name();

}  // namespace snaptool::cli
