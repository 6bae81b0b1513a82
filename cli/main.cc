// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/support/exit_status.h"
#include "cli/support/invocation.h"
#include "cli/support/stdio.h"

namespace {

// Says what the exception being handled is; the exit status.
int tell_exception() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    std::fputs("snaptool: out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "snaptool: internal error: %s\n", error.what());
  }
  return snaptool::cli::kExitFailed;
}

// Where memory runs out in a destructor.
[[noreturn]] void end() {
  if (std::current_exception() != nullptr) std::_Exit(tell_exception());
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  snaptool::cli::occupy_standard_streams();
  snaptool::cli::allow_many_files();
  std::set_terminate(end);
  try {
    return snaptool::cli::run_program(
        std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::exception&) {
    // It has gone past every destructor: no output is left half made.
    return tell_exception();
  }
}
