// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/operands.h"
#include "cli/output_options.h"
#include "cli/version.h"
#include "libsnap/ops/export.h"

namespace snaptool::cli {
namespace {

// --parent: an id, or a diff that leads to the base.
Result<void> read_parent(const Invocation& invocation, const access::ChangeDriver& driver,
                         ExportOptions& options) {
  const auto text = invocation.value("parent");
  if (!text) return {};
  if (auto id = parse_id(*text)) {
    options.parent_id = *id;
    return {};
  }
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto changes, access::ChangeFile::open(opener, *text));
  if (!changes->driver().has_sums || !driver.has_sums) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--parent takes a snapdiff or an id; '{}' has none", *text));
  }
  SNAP_ASSIGN(const ChangeEnd end, changes->driver().read_end(changes->file()));
  options.parent_id = end.child_id;
  SNAP_ASSIGN(options.expectations, changes->driver().expectations(changes->file()));
  return {};
}

Result<ExportOptions> options_of(const Invocation& invocation, const access::ChangeDriver& driver) {
  ExportOptions options;
  options.maker = kProgram;
  SNAP_TRY(read_parent(invocation, driver, options));
  SNAP_ASSIGN(const auto granularity, invocation.size_value("granularity"));
  options.granularity = granularity.value_or(options.granularity);
  if (options.granularity < kSectorSize || options.granularity > kWindowBytes ||
      (options.granularity & (options.granularity - 1)) != 0) {
    return Error(ErrorCode::kInvalidArgument, "--granularity takes a power of two from 512 to 1M");
  }
  const bool rbd = !driver.has_sums;
  options.from_name = invocation.value("from-snap").value_or("");
  options.to_name = invocation.value("to-snap").value_or("");
  options.old_sums = !rbd;
  if (rbd && (options.parent_id || invocation.has("verify-base") || invocation.has("level"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "rbd's diffs have no ids, no sums and no compression: --parent, --verify-base and "
                 "--level are for snapdiffs");
  }
  if (!rbd && (invocation.has("from-snap") || invocation.has("to-snap"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--from-snap and --to-snap name Ceph's snapshots, for -O rbd");
  }
  if (rbd && !invocation.has("full") && options.from_name.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "rbd knows the base by a name only: --from-snap NAME gives it (without, rbd takes "
                 "the diff for a whole image)");
  }
  if (rbd && invocation.has("full") && !options.from_name.empty()) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it does not go with --from-snap");
  }
  return options;
}

Result<ops::ExportRequest> request_of(const Invocation& invocation) {
  ops::ExportRequest request;
  request.driver = invocation.access().drivers.find_changes(
      invocation.value("output-format").value_or("snapdiff"));
  SNAP_ASSIGN(request.level, level_of(invocation));
  SNAP_ASSIGN(request.options, options_of(invocation, *request.driver));
  SNAP_ASSIGN(request.image, image_operand(invocation));
  request.full = invocation.has("full");
  request.reverse = invocation.has("reverse");
  request.whole_sums = invocation.has("verify-base");
  request.verify = invocation.has("verify");
  if (request.full && (invocation.has("base") || invocation.has("parent"))) {
    return Error(ErrorCode::kInvalidArgument,
                 "--full has no base: it goes neither with --base nor with --parent");
  }
  if (const auto base = invocation.value("base")) {
    SNAP_ASSIGN(request.base, image_named(invocation, *base, "second-format"));
  }
  if (const auto changes = invocation.value("changes")) {
    if (!request.base) {
      return Error(ErrorCode::kInvalidArgument,
                   "--changes says where IMAGE and the one that --base names may differ");
    }
    SNAP_ASSIGN(request.changes, cow_operand(invocation, *changes));
  }
  return request;
}

// Of ORIGIN@COW, the diff can go two ways: which one it goes, and what that is good for.
std::string direction(const ops::ExportRequest& request) {
  if (request.full || request.base) return "";
  return request.reverse
             ? "it makes the snapshot's view into the origin: the increment of a backup that was "
               "taken from the snapshot\n"
             : "it makes the origin into the snapshot's view: what was written to the snapshot, or "
               "how to roll the origin back\n";
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const ops::ExportRequest request, request_of(invocation));
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(const ops::Exported exported, ops::export_diff(invocation.access(), request, path));
  // Standard output may be the diff itself.
  if (path == "-") return kExitDone;
  SNAP_TRY(report_changes(invocation, exported.size, exported.end));
  if (invocation.json()) return kExitDone;
  std::string text = direction(request);
  if (exported.end.child_id && !exported.links && !request.options.parent_id) {
    text +=
        "it does not say which state it follows, since not all of both images was read: in a "
        "chain, --parent or --verify-base link it\n";
  }
  SNAP_TRY(invocation.report(text));
  return kExitDone;
}

}  // namespace

CommandSpec export_command() {
  CommandSpec command;
  command.name = "export";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "write what changed between two images as a diff, to be applied elsewhere";
  // clang-format off
  command.description =
      "Writes a diff that makes a base into IMAGE: the base is the origin for ORIGIN@COW, IMAGE0 with --base, or nothing with --full. Of ORIGIN@COW only the exceptions are read. A diff has the sums of what it changes, before and after, so that 'snaptool apply' refuses the wrong base and damage on the way; ids tell which diff follows which.\n\n"
      "A diff is a stream: it can go through a pipe to another machine.";
  command.options = {
    file("base", "IMAGE0", "what the diff is to be applied to"),
    flag("full", "all of IMAGE: the first diff of a chain"),
    flag("reverse", "of ORIGIN@COW, from the view back to the origin: what changed since the snapshot was made"),
    file("changes", "COW", "compare only where this store has exceptions; elsewhere the images are taken to be equal"),
    file("parent", "FILE|ID", "the diff that leads to the base, or the id of the base"),
    flag("verify-base", "read both images in full and add their SHA-256: they link the diffs of a chain, 'apply --verify-base' compares with them, and --changes is checked"),
    flag("verify", "read all of both images, also what their file systems call holes or shared, and all that --changes leaves out"),
    value("granularity", "SIZE", "tell changes in units of SIZE (default: 4k)"),
    choice('O', "output-format", "FMT", "snapdiff (the default), or Ceph's: rbd (version 1, what 'rbd import-diff' takes), rbd2", {"snapdiff", "rbd", "rbd2"}),
    value("from-snap", "NAME", "with -O rbd: the snapshot that the diff starts from"),
    value("to-snap", "NAME", "with -O rbd: the snapshot that it leads to"),
    level_option(),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,           Shared::kFormat,        Shared::kSecondFormat,
                    Shared::kFollowParents, Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,          Shared::kProgress,      Shared::kJson,
                    Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
