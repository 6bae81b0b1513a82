// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"
#include "cli/support/output_options.h"
#include "cli/support/version.h"
#include "libsnap/access/byte_output.h"
#include "libsnap/diff/compose.h"
#include "libsnap/diff/snapdiff.h"

namespace snaptool::cli {
namespace {

Result<int> run_invert(Invocation& invocation) {
  SNAP_ASSIGN(const int level, level_of(invocation));
  const auto base = invocation.value("base");
  if (!base) {
    return Error(ErrorCode::kInvalidArgument,
                 "--base IMAGE must name what the diff is for: what it overwrites is only there");
  }
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(const auto changes, open_changes(door.opener(), invocation.operands().front()));
  if (!changes->is_file()) {
    return Error(ErrorCode::kUnsupported, "a diff from standard input: it is read in a file only");
  }
  std::optional<Sha256::Digest> child_id;
  if (changes->driver().has_sums) {
    SNAP_ASSIGN(const ChangeEnd end, changes->driver().read_end(changes->file()));
    child_id = end.child_id;
  }
  SNAP_ASSIGN(const access::ImageSpec spec, image_named(invocation, *base, "format"));
  SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
  SNAP_ASSIGN(Chain chain, Chain::open({{changes->name(), [&] { return changes->reader(); }}},
                                       open.image().size()));
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(auto output,
              access::ByteOutput::open(door, path, access::StreamTarget::Content::kBinary));
  const auto writer = changes->driver().make(
      [&](std::span<const std::byte> bytes) { return output.write(bytes); }, level);
  ChangeEnd end;
  {
    const access::Phase phase(invocation.access(), "inverting");
    SNAP_ASSIGN(end, invert_changes(chain, open.image(), child_id, *writer, std::string(kProgram),
                                    phase.job()));
  }
  SNAP_TRY(output.commit());
  if (path != "-") SNAP_TRY(report_changes(invocation, open.image().size(), end));
  return kExitDone;
}

}  // namespace

CommandSpec invert_command() {
  CommandSpec command;
  command.name = "invert";
  command.operands = "DIFF";
  command.min_operands = command.max_operands = 1;
  command.summary = "make the diff that takes another one back";
  // clang-format off
  command.description =
      "Writes the diff that brings an image from the state that DIFF leads to back to the state that it starts from. What DIFF overwrites is read from that state, which --base names; it is checked to be what DIFF expects, and only where DIFF changes it.";
  command.options = {
    file("base", "IMAGE", "what DIFF is to be applied to"),
    level_option(),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,  Shared::kFormat,   Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs, Shared::kProgress, Shared::kJson,          Shared::kGroupBackup};
  command.prints_data = out_is_stdout;
  command.run = run_invert;
  return command;
}

}  // namespace snaptool::cli
