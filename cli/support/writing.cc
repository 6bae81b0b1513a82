// SPDX-License-Identifier: Apache-2.0
#include "cli/support/writing.h"

#include <fmt/format.h>

#include "libsnap/base/io_bytes.h"

namespace snaptool::cli {

Result<uint64_t> in_flight_of(const Invocation& invocation) {
  constexpr uint64_t kDefaultInFlight = 64 * kMiB;
  SNAP_ASSIGN(const auto given, invocation.size_value("in-flight"));
  if (given && *given < kIoPiece) {
    return Error(ErrorCode::kInvalidArgument, "--in-flight takes 1M or more");
  }
  return given.value_or(kDefaultInFlight);
}

// clang-format off
OptionSpec in_flight_option() {
  return value("in-flight", "SIZE", "commit after at most this much data (default: 64M)");
}

std::vector<OptionSpec> data_options() {
  return {
    file('i', "input", "FILE", "take the data from FILE (default: standard input)"),
    value('P', "pattern", "BYTE", "write this byte, --length times"),
    value("offset", "SIZE", "write there (default: 0)"),
    value("length", "SIZE", "write this much (default: all the data)"),
  };
}
// clang-format on

Result<std::unique_ptr<WriteInput>> data_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto offset, invocation.size_value("offset"));
  SNAP_ASSIGN(const auto length, invocation.size_value("length"));
  SNAP_ASSIGN(DataSource source,
              DataSource::open({invocation.value("input"), invocation.value("pattern"), length}));
  return std::make_unique<WriteInput>(WriteInput{std::move(source), offset.value_or(0)});
}

}  // namespace snaptool::cli
