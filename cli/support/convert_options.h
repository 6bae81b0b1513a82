// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/support/invocation.h"
#include "libsnap/ops/convert.h"

namespace snaptool::cli {

// What the options and operands of convert ask for. Errors: those of operands; kInvalidArgument.
Result<ops::ConvertRequest> convert_request(const Invocation& invocation);

// The words that --option begins with: "help", and "NAME=" of every format.
std::vector<std::string_view> setting_words();

// What --option takes of the target format, if "--option help" asks for it.
std::optional<std::string> settings_help(const ParsedOptions& options);

}  // namespace snaptool::cli
