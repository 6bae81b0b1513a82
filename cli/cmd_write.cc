// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "cli/writing.h"
#include "libsnap/snap/snapshot.h"

namespace snaptool::cli {
namespace {

// Calls with the pieces of `data`, cut at the chunks' borders, that are not what the view has.
Result<void> for_unequal(
    Snapshot& snapshot, uint64_t offset, std::span<const std::byte> data,
    const std::function<Result<void>(uint64_t, std::span<const std::byte>)>& visit) {
  std::vector<std::byte> view(data.size());
  SNAP_TRY(snapshot.read_at(offset, view));
  const uint64_t chunk = snapshot.chunk_bytes();
  size_t start = 0;  // of the unequal bytes that wait to be handed over
  size_t end = 0;
  for (size_t at = 0; at < data.size();) {
    const size_t next = std::min<uint64_t>(data.size(), at + chunk - (offset + at) % chunk);
    if (!std::equal(data.begin() + at, data.begin() + next, view.begin() + at)) {
      if (end != at) {
        if (end > start) SNAP_TRY(visit(offset + start, data.subspan(start, end - start)));
        start = at;
      }
      end = next;
    }
    at = next;
  }
  if (end > start) return visit(offset + start, data.subspan(start, end - start));
  return {};
}

// A write that would not fit is refused before it begins, where that can be known.
Result<void> check_room(Snapshot& snapshot, WriteRequest& request, bool skip_equal,
                        const Job& job) {
  uint64_t needed = snapshot.exceptions_needed(request.offset, request.most(snapshot));
  if (needed <= snapshot.room() || !request.length) return {};
  if (skip_equal) {
    // A pipe can only be written as it comes.
    if (!request.source.can_rewind()) return {};
    Progress unseen;
    const Job look{unseen, job.cancel, job.jobs};
    uint64_t last = UINT64_MAX;  // the chunk that was counted last
    needed = 0;
    SNAP_TRY(pump(
        request, snapshot, kIoPiece, look, [&](uint64_t offset, std::span<const std::byte> data) {
          return for_unequal(snapshot, offset, data,
                             [&](uint64_t at, std::span<const std::byte> piece) -> Result<void> {
                               const uint64_t chunk = snapshot.chunk_bytes();
                               const uint64_t begin = at / chunk == last ? (last + 1) * chunk : at;
                               const uint64_t end = at + piece.size();
                               if (begin < end)
                                 needed += snapshot.exceptions_needed(begin, end - begin);
                               last = (end - 1) / chunk;
                               return {};
                             });
        }));
    SNAP_TRY(request.source.rewind());
    if (needed <= snapshot.room()) return {};
  }
  return no_room(snapshot, needed, "the write");
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
  SnapshotOptions options;
  const auto store = invocation.value("store");
  // Where nothing was said, a write that turns out not to fit leaves the snapshot valid.
  options.kind = store == "P" ? StoreKind::kPersistent : StoreKind::kPersistentOverflow;
  options.discard_tail = invocation.has("force");
  SNAP_ASSIGN(options.in_flight, in_flight_of(invocation));
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const access::OpenTarget target,
              access::open_target(invocation.access(), opener, spec, options));
  Snapshot& snapshot = *target.snapshot();
  SNAP_ASSIGN(WriteRequest request, write_request(invocation, snapshot, {target.file.get()}));
  const bool skip_equal = invocation.has("skip-equal");
  Progress progress;
  const Job job = invocation.job(progress);
  if (!store) SNAP_TRY(check_room(snapshot, request, skip_equal, job));
  progress.set_size(request.length.value_or(0));
  const uint64_t room = snapshot.room();
  uint64_t skipped = 0;
  Result<uint64_t> written = [&] {
    const ProgressReporter reporter("writing", invocation.progress_style(), progress);
    return pump(request, snapshot, kIoPiece, job,
                [&](uint64_t offset, std::span<const std::byte> data) -> Result<void> {
                  if (!skip_equal) return snapshot.write_at(offset, data);
                  uint64_t unequal = 0;
                  SNAP_TRY(for_unequal(snapshot, offset, data,
                                       [&](uint64_t at, std::span<const std::byte> piece) {
                                         unequal += piece.size();
                                         return snapshot.write_at(at, piece);
                                       }));
                  skipped += data.size() - unequal;
                  return {};
                });
  }();
  if (!written) {
    // What came before a store was found full is kept, as the kernel keeps it.
    if (written.error().code() == ErrorCode::kNoSpace && snapshot.valid()) {
      SNAP_TRY(snapshot.flush());
    }
    return std::move(written).error();
  }
  SNAP_TRY(snapshot.flush());
  const uint64_t added = room - snapshot.room();
  if (invocation.json()) {
    const Json json = {{"format_version", 1},
                       {"offset", request.offset},
                       {"bytes", *written},
                       {"bytes_skipped", skipped},
                       {"exceptions_added", added}};
    SNAP_TRY(invocation.report(json.text()));
    return kExitDone;
  }
  SNAP_TRY(invocation.report(fmt::format(
      "wrote {} bytes at byte {} of the snapshot{}: {} new exceptions\n", *written - skipped,
      request.offset, skip_equal ? fmt::format(" ({} were equal)", skipped) : "", added)));
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
  command.description =
      "Writes data to the view of COW over ORIGIN. The data go to COW, chunk by chunk; ORIGIN is "
      "only read (ORIGIN may itself be a view, A@C). At exit status 0 all of it is durable. Killed "
      "before, the snapshot shows a part of the data, and is sound.\n\n"
      "A write that would not fit is refused before it begins (exit status 73), and the size that "
      "would do is named. With --store it happens as in the kernel: what fits is written, and then "
      "the snapshot is invalidated (P) or takes no more (PO).";
  command.options = data_options();
  command.options.push_back({0,
                             "store",
                             OptionKind::kValue,
                             "P|PO",
                             "what a full COW means, as in the kernel",
                             ValueHint::kChoices,
                             {"P", "PO"}});
  command.options.push_back({0,
                             "skip-equal",
                             OptionKind::kFlag,
                             "",
                             "leave out chunks that the view has already",
                             ValueHint::kNone,
                             {}});
  command.options.push_back(in_flight_option());
  command.options.push_back({0,
                             "force",
                             OptionKind::kFlag,
                             "",
                             "drop what a torn write left behind the end of the list",
                             ValueHint::kNone,
                             {}});
  command.shared = "pOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
