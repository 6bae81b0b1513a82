// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/stdio.h"
#include "cli/support/writing.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/write.h"

namespace snaptool::cli {
namespace {

Result<int> run_write(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  SNAP_ASSIGN(const auto data, data_of(invocation));
  ops::WriteRequest request{spec, data->data(), {}, false, true};
  const auto store = invocation.value("store");
  // Where nothing was said, a write that turns out not to fit leaves the snapshot valid.
  request.options.kind = store == "P" ? StoreKind::kPersistent : StoreKind::kPersistentOverflow;
  request.options.discard_tail = invocation.has("force");
  SNAP_ASSIGN(request.options.in_flight, in_flight_of(invocation));
  request.skip_equal = invocation.has("skip-equal");
  request.check_room = !store;
  const auto told = [&](Error error) {
    if (error.code() != ErrorCode::kNoSpace || request.skip_equal) return error;
    return std::move(error).with_note("--skip-equal leaves out chunks that the view has already");
  };
  auto prepared = ops::WriteJob::prepare(invocation.access(), request);
  if (!prepared) return told(std::move(prepared).error());
  const auto job = *std::move(prepared);
  if (auto done = job->run(); !done) return told(std::move(done).error());
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"offset", request.data.offset},
                       {"bytes", job->written() - job->skipped()},
                       {"skipped_bytes", job->skipped()},
                       {"exceptions_added", job->exceptions_added()}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(
      text_line("wrote {} at byte {} of the snapshot{}: {}",
                counted(job->written() - job->skipped(), "byte"), request.data.offset,
                request.skip_equal ? fmt::format(" ({} were equal)", job->skipped()) : "",
                counted(job->exceptions_added(), "new exception"))));
  if (!request.skip_equal && job->is_whole() && job->exceptions_added() > 0) {
    SNAP_TRY(invocation.report(
        "of a changed copy of the disk, --skip-equal writes only what changed\n"));
  }
  return kExitDone;
}

}  // namespace

CommandSpec write_command() {
  CommandSpec command;
  command.name = "write";
  command.operands = "ORIGIN COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "write to a snapshot, as a guest on it would";
  // clang-format off
  command.description =
      "Writes data to the view of COW over ORIGIN. The data go to COW, chunk by chunk; ORIGIN is only read (ORIGIN may itself be a view, A@C). At exit status 0 all of it is durable. If it is killed before that, the snapshot shows part of the data, and is sound.\n\n"
      "A write that would not fit is refused before it begins (exit status 73), and the message says what size would do. With --store, a full COW behaves as in the kernel: what fits is written, and then the snapshot is invalidated (P) or accepts no more (PO).";
  // clang-format on
  command.options = data_options();
  command.options.push_back(
      choice(0, "store", "P|PO", "what a full COW means, as in the kernel", {"P", "PO"}));
  command.options.push_back(
      flag("skip-equal", "leave out chunks that the view has already: they take no room in COW"));
  command.options.push_back(in_flight_option());
  command.options.push_back(flag("force", "drop what a torn write left past the end of the list"));
  command.shared = {Shared::kProgress, Shared::kJson, Shared::kGroupBackup};
  command.writes = Writes::kLast;
  command.done = "written";
  command.extra_option = "-i";
  command.run = run_write;
  return command;
}

}  // namespace snaptool::cli
