// SPDX-License-Identifier: Apache-2.0
#include "cli/report/apply.h"

#include <fmt/format.h>

#include "cli/support/json.h"
#include "cli/support/output_options.h"
#include "cli/support/stdio.h"

namespace snaptool::cli {

Result<void> report_apply(const Invocation& invocation, size_t diffs, const std::string& target,
                          const ops::ApplyResult& result) {
  const bool all = result.known == ops::Known::kAll;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"target", target},
                 {"diffs", diffs},
                 {"bytes", result.bytes},
                 {"already_applied", result.nothing_to_do}};
    if (result.child_id) json["child_id"] = id_text(*result.child_id);
    json["verified"] = all ? "all" : "changes";
    return invocation.report(json.text());
  }
  const std::string what = diffs == 1 ? "the diff" : fmt::format("{} diffs", diffs);
  std::string text =
      result.nothing_to_do
          ? text_line("'{}' already has all changes of {}", target, what)
          : text_line("applied {} to '{}': {} written", what, target, format_size(result.bytes));
  if (!invocation.has("verbose")) return invocation.report(text);
  if (result.child_id && all) {
    text += text_line("its state has the id {}", id_text(*result.child_id));
  } else if (result.child_id) {
    text += text_line(
        "where the diff{} it, it is in the state with the id {} (--verify-base checks all of it)",
        diffs == 1 ? " changes" : "s change", id_text(*result.child_id));
  }
  return invocation.report(text);
}

std::string resume_apply(const Invocation& invocation, const std::vector<std::string>& diffs) {
  std::string command = "snaptool apply";
  for (const char* flag : {"unlinked", "verify-base", "force"}) {
    if (invocation.has(flag)) command += fmt::format(" --{}", flag);
  }
  if (const auto journal = invocation.value("journal")) {
    command += " --journal " + shell_quoted(*journal);
  }
  if (const auto format = invocation.value("format")) command += " -f " + *format;
  for (const std::string& diff : diffs) command += " " + shell_quoted(diff);
  return command + " " + shell_quoted(invocation.operands().back());
}

}  // namespace snaptool::cli
