// SPDX-License-Identifier: Apache-2.0
#include "cli/support/serve_options.h"

namespace snaptool::cli {

Result<void> check_serve_options(const Invocation& invocation) {
  if (invocation.has("store") && !invocation.has("write")) {
    return Error(ErrorCode::kInvalidArgument, "--store goes only with --write");
  }
  if (invocation.has("write") &&
      (invocation.has("force-share") || invocation.has("ignore-invalid"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--force-share and --ignore-invalid are for reading only");
  }
  return {};
}

std::vector<std::string> plugin_words(const Invocation& invocation) {
  std::vector<std::string> words = {"image=" + invocation.operands().front()};
  if (const auto jobs = invocation.value("jobs")) words.insert(words.begin(), "--threads=" + *jobs);
  for (const std::string name : {"format", "parent", "internal-snapshot", "vgcfg", "store"}) {
    for (const std::string& value : invocation.values(name)) words.push_back(name + "=" + value);
  }
  for (const std::string name : {"write", "force", "force-share", "ignore-invalid"}) {
    if (invocation.has(name)) words.push_back(name + "=true");
  }
  if (const auto where = invocation.value("follow-parents")) {
    words.push_back("follow-parents=" + (where->empty() ? "folder" : *where));
  }
  if (invocation.has("no-sandbox")) words.emplace_back("sandbox=false");
  return words;
}

}  // namespace snaptool::cli
