// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report/map.h"
#include "cli/report/map_rows.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/text_output.h"

namespace snaptool::cli {
namespace {

Result<void> write_map(const Invocation& invocation, Image& image, int bottom, Image* changes,
                       TextSpool& spool, TextOutput& out) {
  const auto format = invocation.value("as");
  if (!format) return write_rows(invocation, image, out);
  const access::Phase phase(invocation.access(), "hashing");
  const Job& job = phase.job();
  if (*format == "bmap") return write_bmap(image, bottom, spool, out, job);
  if (*format == "ddrescue") return write_ddrescue_map(image, bottom, out, job);
  return write_borg_map(image, changes, out, job);
}

Result<void> check_options(const Invocation& invocation) {
  if (invocation.has("as") && invocation.json()) {
    return Error(ErrorCode::kInvalidArgument, "--as and --output=json are two kinds of map");
  }
  if (invocation.has("changes") && invocation.value("as") != "borg") {
    return Error(
        ErrorCode::kInvalidArgument,
        "only --as borg can say that a range is unchanged, so --changes goes only with that");
  }
  return {};
}

Result<int> run_map(Invocation& invocation) {
  SNAP_TRY(check_options(invocation));
  TextSpool spool;
  invocation.enter_sandbox(invocation.named_files());
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
  access::OpenImage changes;
  if (const auto cow = invocation.value("changes")) {
    SNAP_ASSIGN(changes, access::open_changes(door.opener(), spec, *cow));
  }
  SNAP_ASSIGN(auto out, TextOutput::open(door, invocation.value("out").value_or("-")));
  const bool has_parents = invocation.has("follow-parents") || invocation.has("parent");
  const int bottom = static_cast<int>(spec.stores.size()) + (has_parents ? 1 : 0);
  SNAP_TRY(write_map(invocation, open.image(), bottom,
                     changes.layers.empty() ? nullptr : &changes.image(), spool, out));
  SNAP_TRY(out.commit());
  return kExitDone;
}

}  // namespace

CommandSpec map_command() {
  CommandSpec command;
  command.name = "map";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "show which file supplies each range of an image";
  // clang-format off
  command.description =
      "Lists the ranges of IMAGE and where their content lies. Depth 0 is the topmost layer (the COW of ORIGIN@COW), 1 the one below it. With --output=json, an array as 'qemu-img map' prints it, with the file's name in each row; the human table leaves out holes. With --as, a map for another program: which ranges have data, and which need not be copied.";
  command.options = {
    choice(0, "as", "borg|bmap|ddrescue", "write a map for borg, bmaptool (with checksums) or ddrescue (as a domain)", {"borg", "bmap", "ddrescue"}),
    file("changes", "COW", "with --as borg: where COW has no exception, nothing has changed since the last archive"),
    flag("ignore-invalid", "show what an invalid store still holds"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,      Shared::kFormat,     Shared::kFollowParents,
                    Shared::kParent,   Shared::kForceShare, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,       Shared::kGroupBackup};
  command.enters_sandbox = true;
  command.pairs = Pairs::kFirst;
  command.run = run_map;
  return command;
}

}  // namespace snaptool::cli
