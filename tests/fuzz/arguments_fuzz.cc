// SPDX-License-Identifier: Apache-2.0
// Any arguments to any command's parser, any text as a size or an image: an answer or an error,
// never a crash.
#include <cstdint>
#include <string>
#include <vector>

#include "cli/support/command_table.h"
#include "cli/support/stdio.h"
#include "libsnap/access/spec.h"
#include "libsnap/base/units.h"
#include "tests/fuzz/fuzz_target.h"

SNAPTOOL_FUZZ_TARGET(arguments)(const uint8_t* data, size_t size) {
  using namespace snaptool;       // NOLINT: one function
  using namespace snaptool::cli;  // NOLINT
  if (size < 1 || size > 4096) return 0;
  std::vector<std::string> arguments(1);
  for (size_t i = 1; i < size; ++i) {
    if (data[i] == 0) {
      arguments.emplace_back();
    } else {
      arguments.back().push_back(static_cast<char>(data[i]));
    }
  }
  const CommandSpec& command = command_table()[data[0] % command_table().size()];
  static_cast<void>(parse_options(all_options(command), arguments).has_value());
  for (const std::string& argument : arguments) {
    static_cast<void>(parse_size(argument).has_value());
    static_cast<void>(access::parse_image_spec(argument).has_value());
    if (printable(argument).find('\n') != std::string::npos) __builtin_trap();
  }
  return 0;
}
