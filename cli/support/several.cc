// SPDX-License-Identifier: Apache-2.0
#include "cli/support/several.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "cli/support/exit_status.h"
#include "cli/support/pairs.h"
#include "formats/format.h"
#include "libsnap/access/opener.h"

namespace snaptool::cli {
namespace {

// Whether there is all of it to be verified: a store, or an image that has checksums of its own.
bool stands_alone(const std::string& path) {
  if (is_store(path)) return true;
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed)) return false;
  const auto file = access::Files::posix().open(path, access::kLook);
  if (!file) return false;
  const auto driver = all_drivers().detect_image(**file);
  return driver && (*driver)->check_sums != nullptr;
}

}  // namespace

Result<std::vector<std::vector<std::string>>> runs_of(const CommandSpec& command,
                                                      const ParsedOptions& options) {
  const std::vector<std::string>& operands = options.operands();
  const bool fits = operands.size() <= command.max_operands;
  // With a manifest, of images, too, of which most have no checksums of their own.
  const bool is_against =
      options.has("against") && operands.size() == 2 && !is_pair(operands[0], operands[1]);
  const auto are_alone = [&] {
    return std::all_of(operands.begin(), operands.end(), stands_alone);
  };
  if (command.each.empty() || operands.size() < 2 || (fits && !is_against && !are_alone())) {
    return std::vector<std::vector<std::string>>{operands};
  }
  for (const std::string_view option : {"block-size", "parent"}) {
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
