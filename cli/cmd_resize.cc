// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "libsnap/snap/create.h"
#include "libsnap/snap/persistent_store.h"

namespace snaptool::cli {
namespace {

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const access::FileSpec spec, cow_operand(invocation, invocation.operands().front()));
  const bool only_minimum = invocation.has("minimum");
  if (only_minimum != (invocation.operands().size() == 1)) {
    return Error(ErrorCode::kInvalidArgument,
                 only_minimum ? "--minimum takes no SIZE" : "the new SIZE is missing");
  }
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto cow, opener.open(spec, {only_minimum ? Access::kRead : Access::kReadWrite,
                                                 only_minimum && invocation.force_share()}));
  SNAP_ASSIGN(const uint64_t minimum, minimum_store_size(*cow, invocation.cancel()));
  if (only_minimum) {
    SNAP_TRY(invocation.report(invocation.json()
                                   ? Json{{"format_version", 1}, {"minimum", minimum}}.text()
                                   : fmt::format("{}\n", minimum)));
    return kExitDone;
  }
  if (invocation.force_share()) {
    return Error(ErrorCode::kInvalidArgument, "--force-share goes with --minimum only");
  }
  const auto wanted = parse_size(invocation.operands()[1]);
  if (!wanted) return wanted.error();
  SNAP_ASSIGN(const PersistentStore store, PersistentStore::open(*cow));
  if (*wanted < minimum) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' cannot be cut to {} bytes: what it holds needs {}", spec.name(),
                             *wanted, minimum));
  }
  const uint64_t size = std::max(minimum, usable_store_size(store.layout(), *wanted));
  if (size != *wanted) {
    invocation.say(
        fmt::format("{} bytes are no more use than {}: a chunk that is not whole, or "
                    "the last of an area that none can follow",
                    *wanted, size));
  }
  const uint64_t before = cow->size();
  if (size != before) {
    SNAP_TRY(cow->resize(size));
    SNAP_TRY(cow->flush());
  }
  if (invocation.json()) {
    const Json json = {{"format_version", 1}, {"size_before", before}, {"size", size}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(
      invocation.report(fmt::format("'{}' has {} bytes ({} before)\n", spec.name(), size, before)));
  return kExitDone;
}

}  // namespace

CommandSpec resize_command() {
  CommandSpec command;
  command.name = "resize";
  command.operands = "COW [SIZE]";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make a COW file longer, or cut it to what it needs";
  command.description =
      "Changes the size of a COW, and with it the room for exceptions. It is never cut below what "
      "the store holds. A block device is resized with the tools of its own kind; the kernel uses "
      "what is there.";
  command.options = {{0,
                      "minimum",
                      OptionKind::kFlag,
                      "",
                      "only print the least size that it can be cut to",
                      ValueHint::kNone,
                      {}}};
  command.shared = "UO";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
