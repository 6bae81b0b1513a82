// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report/merge.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/merge_child.h"
#include "cli/support/merge_options.h"
#include "cli/support/stdio.h"
#include "libsnap/access/stream.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/merge.h"

namespace snaptool::cli {
namespace {

// -o: the origin and its COW stay as they are.
Result<int> merge_into_new_file(const Invocation& invocation, const ops::MergeRequest& request) {
  if (request.image.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported,
                 "-o with a stack of stores: 'snaptool read A@C1@C2 -o NEW' writes its view");
  }
  for (const char* option :
       {"dry-run", "salvage", "undo", "rate-limit", "sibling", "flatten", "no-punch", "scrub"}) {
    if (!invocation.has(option)) continue;
    return Error(ErrorCode::kInvalidArgument,
                 "--dry-run, --salvage, --undo, --sibling, --flatten, --no-punch, --scrub and "
                 "--rate-limit go with a merge in place, not with -o");
  }
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(ops::MergedView view, ops::prepare_view(door, request));
  const std::string path = *invocation.value("out");
  SNAP_ASSIGN(const auto stream,
              access::StreamTarget::open(path, access::StreamTarget::Content::kBinary,
                                         invocation.cancel()));
  if (stream && request.options.verify) {
    return Error(ErrorCode::kInvalidArgument, "--verify: a pipe cannot be read back");
  }
  if (stream) {
    SNAP_TRY(ops::stream_view(door, view, [&](std::span<const std::byte> bytes) {
      return access::write_all(stream.fd(), bytes, invocation.cancel());
    }));
    return kExitDone;
  }
  SNAP_TRY(ops::write_view(door, view, request, path));
  SNAP_TRY(report_view(invocation, request, path));
  return kExitDone;
}

Result<void> merge_in_place(const Invocation& invocation, const ops::MergeRequest& request,
                            ops::MergeJob& job) {
  invocation.say(
      fmt::format("copying by reading and writing pieces of up to {} with {}; between two flushes "
                  "at most {}, and about {} s",
                  format_size(kIoPiece), counted(invocation.access().jobs, "thread"),
                  format_size(request.options.batch_bytes), request.options.batch_time.count()));
  auto merged = job.run();
  if (merged) return {};
  Error error = std::move(merged).error();
  if (error.code() == ErrorCode::kInterrupted)
    error = Error(ErrorCode::kInterrupted, "interrupted");
  return std::move(error).with_note(stopped_merge(invocation, request, job));
}

Result<int> run_merge(Invocation& invocation) {
  SNAP_ASSIGN(const auto child, merge_if_child(invocation));
  if (child) return *child;
  SNAP_ASSIGN(const ops::MergeRequest request, merge_request(invocation));
  if (invocation.has("out")) return merge_into_new_file(invocation, request);
  if (invocation.force_share() && !request.dry_run) {
    return Error(
        ErrorCode::kInvalidArgument,
        "--force-share is for reading only: with --dry-run or -o, not with a merge in place");
  }
  SNAP_ASSIGN(const auto job, ops::MergeJob::prepare(invocation.access(), request));
  const std::string cow = request.image.stores.back().name();
  if (job->has_tail()) {
    invocation.say("clearing entries past the end of the list first, which a crash left");
  }
  if (!request.dry_run) SNAP_TRY(merge_in_place(invocation, request, *job));
  SNAP_TRY(report_merge(invocation, request, *job));
  if (job->merge().unreadable_count() == 0) return kExitDone;
  return Error(ErrorCode::kIo,
               fmt::format("{} of {} could not be read; the store keeps {}, all others "
                           "are merged: keep '{}', and '{}' tries again",
                           job->merge().unreadable_count(), counted(job->exceptions(), "exception"),
                           job->merge().kept_exceptions(), cow, resume_merge(invocation, request)));
}

}  // namespace

CommandSpec merge_command() {
  CommandSpec command;
  command.name = "merge";
  command.operands = "ORIGIN COW|CHILD";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make an origin equal to the view of its snapshot, in place and crash-safe";
  // clang-format off
  command.description =
      "Copies every chunk of COW to ORIGIN and empties COW. Stopped at any instant, by a signal, a crash or a power cut, ORIGIN and COW together still show the same view, and the same command resumes; so does the kernel's snapshot-merge target.\n\n"
      "What that means depends on the history of the COW. If the snapshot was written to, COW holds new data, and merging commits them. If the origin was written to, COW holds old data, and merging rolls the origin back. The store does not say which, nor does it say which origin it belongs to: merging into the wrong origin destroys it. Other snapshots of the same origin lose their views, unless you name them with --sibling: they first get what they still need. ORIGIN may itself be a view, A@C1: then its store gets the chunks, and A is only read. A stack of stores can be merged at once with --flatten: 'merge A C1 --flatten C2' makes A what A@C1@C2 shows, writes each range once, from the topmost store that has it, and empties both. Until it is done, A@C1@C2 keeps its view, and A@C1 does not. --sibling, --undo and --salvage cannot be combined with --flatten.\n\n"
      "Instead of COW, CHILD may be an image over ORIGIN: a qcow2 overlay of a raw image, a differencing VHD or VHDX. Its data go into ORIGIN, and CHILD itself does not change, so if the merge is stopped, the same command continues. ORIGIN may be raw, VHD (differencing or not) or VHDX that is not differencing. A merged VHD or VHDX gets the UUID of the child, so that images over CHILD can be used with '--parent ORIGIN', and other images over ORIGIN are refused. A raw ORIGIN cannot protect other images over it like that. Parents of other formats are not written in place ('qemu-img commit' does qcow2); with -o NEW, the two become one raw image.\n\n"
      "A store that verify finds corrupt is refused (exit status 65) before the first write; what an interrupted merge leaves past the end of the list is no obstacle. --dry-run, --undo, --salvage, --sibling, --flatten, --no-punch, --scrub and --rate-limit do not go with -o; --force-share goes only with --dry-run or -o.";
  command.options = {
    flag("dry-run", "check everything, say what would be done, write nothing"),
    value("expect", "SHA256", "refuse unless the view has this SHA-256 (reads all of it)"),
    repeated(written(file("flatten", "COW2", "a store over COW, to merge into ORIGIN with it; can be repeated, lowest first"))),
    repeated(written(file("sibling", "COW2", "another snapshot of ORIGIN, to keep its view; can be repeated"))),
    value('r', "rate-limit", "RATE", "copy at most this many bytes a second (50M), or only this share of the time (30%, as the kernel's snapshot_copy_throttle)"),
    flag("verify", "read each batch back, past the page cache, before its entries are cleared; with -o: compare all of NEW with the view"),
    written(file("undo", "FILE", "save what the merge overwrites in FILE, for 'snaptool undo'; name the same FILE to resume")),
    flag("scrub", "after the merge, write zeros over the data that COW still has; not with --undo"),
    flag("salvage", "carry on past data that cannot be read; list them, and keep their exceptions and all before them in COW"),
    flag("no-punch", "keep ORIGIN allocated where COW has zeros; by default, if ORIGIN has holes, zeros become holes"),
    flag("accept-duplicates", "merge a store with several exceptions for one chunk: the first in the list wins, as in the kernel"),
    flag("force", "merge even if the view has a different UUID than the origin, entries that no interrupted merge left lie past the end of the list, or space seems too short; with -o: replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,        Shared::kFollowParents, Shared::kFormat,
                    Shared::kForceShare, Shared::kJobs,          Shared::kProgress,
                    Shared::kJson,       Shared::kGroupBackup,   Shared::kCache};
  command.writes = Writes::kAll;
  command.prints_data = [](const ParsedOptions& options) {
    return options.has("out") && is_stdout(*options.value("out"));
  };
  command.done = "merged";
  command.extra_option = "-o";
  command.run = run_merge;
  return command;
}

}  // namespace snaptool::cli
