// SPDX-License-Identifier: Apache-2.0
#include "cli/support/several.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/support/exit_status.h"
#include "cli/support/pairs.h"

namespace snaptool::cli {

Result<std::vector<std::vector<std::string>>> runs_of(const CommandSpec& command,
                                                      const ParsedOptions& options) {
  const std::vector<std::string>& operands = options.operands();
  const bool fits = operands.size() <= command.max_operands;
  const bool are_stores = std::all_of(operands.begin(), operands.end(), is_store);
  if (command.each.empty() || operands.size() < 2 || (fits && !are_stores)) {
    return std::vector<std::vector<std::string>>{operands};
  }
  for (const std::string_view option : {"out", "block-size", "against", "parent"}) {
    if (options.has(option)) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("--{} is about one {}: there are {} operands", option,
                               command.each.substr(0, command.each.find(' ')), operands.size()));
    }
  }
  std::vector<std::vector<std::string>> runs;
  for (const std::string& operand : operands) runs.push_back({operand});
  return runs;
}

// A verdict counts more than that something could not be found out.
int worse_status(int a, int b) {
  constexpr std::array kRanks = {kExitCorrupt, kExitDamagedInput, kExitFailed, kExitUsage};
  const auto rank = [&](int status) {
    if (status == kExitDone) return kRanks.size() + 2;
    if (status == kExitHarmless) return kRanks.size() + 1;
    return static_cast<size_t>(std::find(kRanks.begin(), kRanks.end(), status) - kRanks.begin());
  };
  return rank(b) < rank(a) ? b : a;
}

}  // namespace snaptool::cli
