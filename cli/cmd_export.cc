// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/export_options.h"
#include "cli/support/output_options.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/export.h"

namespace snaptool::cli {
namespace {

// Of ORIGIN@COW, the diff can go two ways: which one it goes, and what that is good for.
std::string direction(const ops::ExportRequest& request) {
  if (request.full || request.base) return "";
  return request.reverse
             ? "it turns the snapshot's view into the origin: the next increment after a backup that was "
               "taken from the snapshot\n"
             : "it turns the origin into the snapshot's view: it has what was written to the snapshot, or "
               "rolls the origin back\n";
}

Result<int> run_export(Invocation& invocation) {
  SNAP_ASSIGN(const ops::ExportRequest request, export_request(invocation));
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(const ops::Exported exported, ops::export_diff(invocation.access(), request, path));
  // Standard output may be the diff itself.
  if (path == "-") return kExitDone;
  SNAP_TRY(report_changes(invocation, exported.size, exported.end));
  if (invocation.json()) return kExitDone;
  std::string text = direction(request);
  if (exported.end.child_id && !exported.links && !request.options.parent_id) {
    text +=
        "it does not say which state it follows, since not all of both images was read: to use it in "
        "a chain, link it with --parent or --verify-base\n";
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
      "Writes a diff that turns a base into IMAGE. The base is the origin for ORIGIN@COW, IMAGE0 with --base, or nothing with --full. For ORIGIN@COW, only the exceptions are read. A diff has checksums of what it changes, before and after, so that 'snaptool apply' refuses a wrong base or a damaged diff; ids say which diff follows which.\n\n"
      "A diff is a stream: it can go through a pipe to another machine.";
  command.options = {
    file("base", "IMAGE0", "the image that the diff will be applied to"),
    flag("full", "all of IMAGE: the first diff of a chain"),
    flag("reverse", "for ORIGIN@COW, go from the view back to the origin: what changed since the snapshot was made"),
    file("changes", "COW", "compare only where this store has exceptions, and take the images to be equal elsewhere"),
    file("parent", "FILE|ID", "the diff that leads to the base, or the id of the base"),
    flag("verify-base", "read both images in full and add their SHA-256, which links the diffs of a chain and is what 'apply --verify-base' compares with; also check --changes"),
    flag("verify", "read all of both images, including what their file systems call holes or shared, and what --changes leaves out"),
    value("granularity", "SIZE", "record changes in units of SIZE (default: 4k)"),
    choice('O', "output-format", "FMT", "snapdiff (the default), or a Ceph format: rbd (version 1, which 'rbd import-diff' reads) or rbd2", {"snapdiff", "rbd", "rbd2"}),
    value("from-snap", "NAME", "with -O rbd: the snapshot that the diff starts from"),
    value("to-snap", "NAME", "with -O rbd: the snapshot that it leads to"),
    level_option(),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,           Shared::kFormat,        Shared::kSecondFormat,
                    Shared::kFollowParents, Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,          Shared::kProgress,      Shared::kJson,
                    Shared::kGroupBackup,   Shared::kCache};
  command.prints_data = out_is_stdout;
  command.pairs = Pairs::kFirst;
  command.hint_of_two = [](const std::string& first, const std::string& second) {
    std::error_code failed;
    if (!std::filesystem::exists(second, failed)) {
      return fmt::format("did you mean -o {}?", shell_quoted(second));
    }
    return fmt::format("to export what changed from '{0}' to '{1}': export {3} --base {2}", first,
                       second, shell_quoted(first), shell_quoted(second));
  };
  command.run = run_export;
  return command;
}

}  // namespace snaptool::cli
