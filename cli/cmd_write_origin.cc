// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "cli/support/writing.h"
#include "libsnap/ops/write.h"

namespace snaptool::cli {
namespace {

Result<int> run_write_origin(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, target_operand(invocation));
  SNAP_ASSIGN(auto snapshots, cow_operands(invocation, "snapshot"));
  SNAP_ASSIGN(const auto data, data_of(invocation));
  ops::OriginWriteRequest request{spec, std::move(snapshots), data->data(), {}, false};
  request.options.discard_tail = invocation.has("force");
  SNAP_ASSIGN(request.options.in_flight, in_flight_of(invocation));
  request.may_invalidate = invocation.has("allow-invalidate");
  SNAP_ASSIGN(const auto job, ops::OriginWriteJob::prepare(invocation.access(), request));
  if (request.data.length() != 0) {
    invocation.warn(request.snapshots.empty()
                        ? "no --snapshot is named: this breaks every snapshot of this origin"
                        : "this breaks snapshots of this origin that are not named");
  }
  SNAP_TRY(job->run());
  for (const std::string& name : job->invalidated()) {
    invocation.warn(fmt::format("snapshot '{}' was full: it is invalid now", name));
  }
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"offset", request.data.offset},
                       {"bytes", job->written()},
                       {"invalidated", job->invalidated()}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(text_line("wrote {} bytes at byte {} of '{}'", job->written(),
                                       request.data.offset, job->image().name())));
  return kExitDone;
}

}  // namespace

CommandSpec write_origin_command() {
  CommandSpec command;
  command.name = "write-origin";
  command.operands = "ORIGIN";
  command.min_operands = command.max_operands = 1;
  command.summary = "write to an origin; its snapshots keep what they show";
  // clang-format off
  command.description =
      "Writes data to ORIGIN. Before a chunk changes, each COW named with --snapshot durably saves the old data, unless it has them already, so that its view does not change. The views of other snapshots do. ORIGIN may itself be a view, A@C.\n\n"
      "If a COW is too small for what it must save, nothing is changed (exit status 73). With --allow-invalidate, it is marked invalid instead, as in the kernel.";
  // clang-format on
  command.options = data_options();
  command.options.push_back(repeated(
      written(file("snapshot", "COW", "a snapshot of ORIGIN, to keep its view; can be repeated"))));
  command.options.push_back(flag("allow-invalidate", "invalidate a snapshot that is too small"));
  command.options.push_back(in_flight_option());
  command.options.push_back(
      flag("force", "drop what a torn write left past the end of a COW's list"));
  command.shared = {Shared::kFormat, Shared::kProgress, Shared::kJson, Shared::kGroupBackup};
  command.writes = Writes::kAll;
  command.done = "written";
  command.extra_option = "--snapshot";
  command.run = run_write_origin;
  return command;
}

}  // namespace snaptool::cli
