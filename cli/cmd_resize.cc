// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/units.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

Result<int> print_minimum(const Invocation& invocation, const access::FileSpec& spec) {
  SNAP_ASSIGN(const uint64_t minimum, ops::minimum_size(invocation.access(), spec));
  SNAP_TRY(invocation.report(
      invocation.json()
          ? Json{{"format_version", 1}, {"cow", spec.name()}, {"minimum_size", minimum}}.text()
          : text_line("{}", minimum)));
  return kExitDone;
}

// "1M", or "+1M": so much more.
Result<ops::NewSize> new_size(std::string_view text) {
  ops::NewSize size;
  size.is_added = text.starts_with('+');
  SNAP_ASSIGN(size.bytes, parse_size(text.substr(size.is_added ? 1 : 0)));
  return size;
}

Result<int> run_resize(Invocation& invocation) {
  SNAP_ASSIGN(const access::FileSpec spec, cow_operand(invocation, invocation.operands().front()));
  const bool only_minimum = invocation.has("minimum");
  if (only_minimum != (invocation.operands().size() == 1)) {
    return Error(ErrorCode::kInvalidArgument,
                 only_minimum ? "--minimum takes no SIZE" : "the new SIZE is missing");
  }
  if (only_minimum) return print_minimum(invocation, spec);
  if (invocation.force_share()) {
    return Error(ErrorCode::kInvalidArgument, "--force-share goes with --minimum only");
  }
  SNAP_ASSIGN(const ops::NewSize size, new_size(invocation.operands()[1]));
  SNAP_ASSIGN(const ops::Resized resized, ops::resize(invocation.access(), spec, size));
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"cow", spec.name()},
                       {"cow_size_before", resized.before},
                       {"cow_size", resized.size}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(text_line("'{}' has {} ({} before)", spec.name(),
                                       counted(resized.size, "byte"), resized.before)));
  return kExitDone;
}

}  // namespace

CommandSpec resize_command() {
  CommandSpec command;
  command.name = "resize";
  command.operands = "COW [[+]SIZE]";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make a COW file larger, or shrink it to what it needs";
  // clang-format off
  command.description =
      "Changes the size of a COW, and with it the room for exceptions; +SIZE adds to the size that it has. It never shrinks below what the store holds. Resize a block device with its own tools; the kernel uses all of it.";
  command.options = {
    flag("minimum", "only print the smallest size that it can shrink to"),
  };
  // clang-format on
  command.shared = {Shared::kForceShare, Shared::kJson};
  command.writes = Writes::kFirst;
  command.done = "resized";
  command.run = run_resize;
  return command;
}

}  // namespace snaptool::cli
