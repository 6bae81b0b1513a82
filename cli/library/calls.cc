// SPDX-License-Identifier: Apache-2.0
#include "cli/library/calls.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include <snaptool/snaptool.h>
#include "cli/library/remedies.h"
#include "cli/support/exit_status.h"
#include "libsnap/base/printable.h"

namespace snaptool::library {
namespace {

// No memory is needed to keep it.
struct LastError {
  std::array<char, 8192> text{};
  int code = 0;
  int number = 0;
};
thread_local LastError last_error;

}  // namespace

void keep_error(const char* function, const char* text, int code, int number) noexcept {
  last_error.code = code;
  last_error.number = number;
  std::snprintf(last_error.text.data(), last_error.text.size(), "%s: %s", function, text);
}

void keep_error(const char* function, const Error& error) noexcept {
  const int code = cli::exit_status_of(error.code());
  try {
    const std::string text = error.describe() + remedy_text(error.remedy());
    keep_error(function, printable(text).c_str(), code, error.sys_errno());
  } catch (const std::exception&) {  // no memory for more
    keep_error(function, error.message().c_str(), code, error.sys_errno());
  }
}

Result<void> check_given(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return Error(ErrorCode::kInvalidArgument, fmt::format("{} is NULL", name));
}

}  // namespace snaptool::library

const char* snap_version(void) { return SNAP_VERSION; }
const char* snap_get_error(void) { return snaptool::library::last_error.text.data(); }
int snap_get_code(void) { return snaptool::library::last_error.code; }
int snap_get_errno(void) { return snaptool::library::last_error.number; }
