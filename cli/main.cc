// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "cli/support/exit_status.h"
#include "cli/support/invocation.h"
#include "cli/support/stdio.h"

int main(int argc, char** argv) {
  snaptool::cli::occupy_standard_streams();
  try {
    return snaptool::cli::run_program(
        std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::bad_alloc&) {
    std::fputs("snaptool: out of memory\n", stderr);
    return snaptool::cli::kExitFailed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "snaptool: internal error: %s\n", error.what());
    return snaptool::cli::kExitFailed;
  }
}
