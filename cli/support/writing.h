// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/support/data_source.h"
#include "cli/support/invocation.h"
#include "libsnap/ops/write.h"

namespace snaptool::cli {

// What the commands that write have in common.

// --in-flight, or its default. Errors: kInvalidArgument.
Result<uint64_t> in_flight_of(const Invocation& invocation);
OptionSpec in_flight_option();
// -i, -P, --offset and --length.
std::vector<OptionSpec> data_options();

// The data that they ask for, and where they go.
struct WriteInput {
  DataSource source;
  uint64_t offset = 0;
  ops::WriteData data() { return {source, offset}; }
};
// Errors: those of DataSource::open.
Result<std::unique_ptr<WriteInput>> data_of(const Invocation& invocation);

}  // namespace snaptool::cli
