// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/byte_output.h"
#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/operands.h"
#include "cli/version.h"
#include "libsnap/diff/compose.h"
#include "libsnap/diff/snapdiff.h"

namespace snaptool::cli {
namespace {

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const int level, level_of(invocation));
  const auto base = invocation.value("base");
  if (!base) {
    return Error(ErrorCode::kInvalidArgument,
                 "--base IMAGE must name what the diff is for: what it overwrites is only there");
  }
  SNAP_ASSIGN(const auto changes,
              ChangeFile::open(invocation.access(), invocation.operands().front()));
  if (!changes->is_file()) {
    return Error(ErrorCode::kUnsupported, "a diff from standard input: it is read in a file only");
  }
  std::optional<Sha256::Digest> child_id;
  if (changes->format() == ChangeFile::Format::kSnapdiff) {
    SNAP_ASSIGN(const ChangeEnd end, read_snapdiff_end(changes->file()));
    child_id = end.child_id;
  }
  SNAP_ASSIGN(const access::ImageSpec spec, image_named(invocation, *base, "format"));
  SNAP_ASSIGN(access::OpenImage open, access::open_image(invocation.access(), spec));
  SNAP_ASSIGN(Chain chain, Chain::open({{changes->name(), [&] { return changes->reader(); }}},
                                       open.image().size()));
  std::vector<const File*> inputs{&changes->file()};
  for (const auto& file : open.opened) inputs.push_back(file.get());
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(auto output, ByteOutput::open(path, StreamTarget::Content::kBinary, inputs,
                                            invocation.has("force")));
  const auto writer = change_writer(
      changes->format(), [&](std::span<const std::byte> bytes) { return output.write(bytes); },
      level);
  Progress progress;
  ChangeEnd end;
  {
    const ProgressReporter reporter("inverting", invocation.progress_style(), progress);
    SNAP_ASSIGN(end, invert_changes(chain, open.image(), child_id, *writer, std::string(kProgram),
                                    invocation.job(progress)));
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
  command.description =
      "Writes the diff that brings an image from the state that DIFF leads to back to the state "
      "that it starts from. What DIFF overwrites is read from that state, which --base names; it "
      "is checked to be what DIFF expects, and only where DIFF changes it.";
  command.options = {
      {0,
       "base",
       OptionKind::kValue,
       "IMAGE",
       "what DIFF is to be applied to",
       ValueHint::kFile,
       {}},
      level_option(),
      {0, "force", OptionKind::kFlag, "", "replace FILE if it exists", ValueHint::kNone, {}}};
  command.shared = "ofIUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
