// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/write.h"

namespace snaptool::cli {
namespace {

Result<int> run_discard(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  ops::DiscardRequest request{spec, 0, {}, {}, {}};
  request.discard = {invocation.has("discard-zeroes-cow"),
                     invocation.has("discard-passdown-origin")};
  if (!request.discard.zeroes_cow) {
    return request.discard.passdown_origin
               ? Error(ErrorCode::kInvalidArgument,
                       "--discard-passdown-origin needs --discard-zeroes-cow, as in the kernel")
               : Error(ErrorCode::kUnsupported,
                       "a snapshot takes discards only with --discard-zeroes-cow, as in the "
                       "kernel: nothing was changed");
  }
  SNAP_ASSIGN(const auto offset, invocation.size_value("offset"));
  SNAP_ASSIGN(request.length, invocation.size_value("length"));
  request.offset = offset.value_or(0);
  request.options.discard_tail = invocation.has("force");
  if (request.discard.passdown_origin) {
    invocation.warn(
        "what is passed down changes the origin: its other snapshots lose these ranges of their "
        "views");
  }
  SNAP_ASSIGN(const uint64_t bytes, ops::discard(invocation.access(), request));
  SNAP_TRY(invocation.report(
      invocation.json()
          ? Json{{"format_version", 1}, {"offset", request.offset}, {"bytes", bytes}}.text()
          : text_line("discarded {} at byte {} of the snapshot", counted(bytes, "byte"),
                      request.offset)));
  return kExitDone;
}

}  // namespace

CommandSpec discard_command() {
  CommandSpec command;
  command.name = "discard";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "discard a range of a snapshot, as the kernel would";
  // clang-format off
  command.description =
      "Discards a range of a snapshot that has the kernel's features of the same names. With --discard-zeroes-cow, chunks of the range that are in COW are zeroed there (their exceptions stay); other chunks do not change. With --discard-passdown-origin, the range of ORIGIN is discarded, too, and no other snapshot gets a copy of it first. Without features, a snapshot accepts no discards (exit status 63).";
  command.options = {
    value("offset", "SIZE", "start there (default: 0)"),
    value("length", "SIZE", "discard this much (default: to the end)"),
    flag("discard-zeroes-cow", "zero what is in the COW"),
    flag("discard-passdown-origin", "also discard the range of the origin"),
    flag("force", "drop what a torn write left past the end of the list"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kProgress, Shared::kJson, Shared::kGroupBackup};
  command.writes = Writes::kAll;
  command.done = "discarded";
  command.run = run_discard;
  return command;
}

}  // namespace snaptool::cli
