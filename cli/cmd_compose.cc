// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/compose.h"

#include <fmt/format.h>

#include "cli/byte_output.h"
#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/version.h"

namespace snaptool::cli {
namespace {

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const int level, level_of(invocation));
  std::vector<std::unique_ptr<ChangeFile>> files;
  std::vector<ChainLink> links;
  std::vector<const File*> inputs;
  bool from_pipe = false;
  for (const std::string& path : invocation.operands()) {
    if (path == "-" && std::exchange(from_pipe, true)) {
      return Error(ErrorCode::kInvalidArgument, "standard input can be only one of the diffs");
    }
    SNAP_ASSIGN(auto file, ChangeFile::open(invocation.access(), path));
    const bool snapdiff = file->format() == ChangeFile::Format::kSnapdiff;
    if (!files.empty() && snapdiff != (files.front()->format() == ChangeFile::Format::kSnapdiff)) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' and '{}' are diffs of different kinds", files.front()->name(),
                               file->name()));
    }
    if (file->is_file()) inputs.push_back(&file->file());
    links.push_back({file->name(), [changes = file.get()] { return changes->reader(); }});
    files.push_back(std::move(file));
  }
  // Where the base's size is not said, it may be anything.
  SNAP_ASSIGN(Chain chain, Chain::open(std::move(links), kMostImageBytes, linking_of(invocation)));
  const uint64_t size = chain.shape().final_size();
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(auto output, ByteOutput::open(path, StreamTarget::Content::kBinary, inputs,
                                            invocation.has("force")));
  const auto writer = change_writer(
      files.front()->format(),
      [&](std::span<const std::byte> bytes) { return output.write(bytes); }, level);
  Progress progress;
  ChangeEnd end;
  {
    const ProgressReporter reporter("composing", invocation.progress_style(), progress);
    SNAP_ASSIGN(end,
                compose_changes(chain, *writer, std::string(kProgram), invocation.job(progress)));
  }
  SNAP_TRY(output.commit());
  if (path != "-") SNAP_TRY(report_changes(invocation, size, end));
  return kExitDone;
}

}  // namespace

CommandSpec compose_command() {
  CommandSpec command;
  command.name = "compose";
  command.operands = "DIFF DIFF...";
  command.min_operands = 2;
  command.max_operands = 4096;
  command.summary = "make one diff of several that follow each other";
  command.description =
      "Writes one diff that does what all DIFFs do, the oldest first. No image is needed. Where "
      "several change the same place, the last one's data are kept. The new diff follows what the "
      "first one follows, and leads to the state of the last one, with its id. A DIFF that does "
      "not "
      "follow the one before it, or that nothing links to it, is refused. Diffs of Ceph's "
      "rbd are composed, too, as 'rbd merge-diff' does.";
  command.options = {
      level_option(),
      unlinked_option(),
      {0, "force", OptionKind::kFlag, "", "replace FILE if it exists", ValueHint::kNone, {}}};
  command.shared = "ojpO";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
