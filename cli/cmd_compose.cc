// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/compose.h"

#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/output_options.h"
#include "cli/support/version.h"
#include "libsnap/access/byte_output.h"

namespace snaptool::cli {
namespace {

Result<int> run_compose(Invocation& invocation) {
  SNAP_ASSIGN(const int level, level_of(invocation));
  access::Door door(invocation.access(), access::operations::kOutput);
  std::vector<std::unique_ptr<access::ChangeFile>> files;
  bool from_pipe = false;
  for (const std::string& path : invocation.operands()) {
    if (path == "-" && std::exchange(from_pipe, true)) {
      return Error(ErrorCode::kInvalidArgument, "standard input can be only one of the diffs");
    }
    SNAP_ASSIGN(auto file, open_changes(door.opener(), path));
    if (!files.empty() && file->driver().has_sums != files.front()->driver().has_sums) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' and '{}' are diffs of different kinds", files.front()->name(),
                               file->name()));
    }
    files.push_back(std::move(file));
  }
  // Where the base's size is not said, it may be anything.
  SNAP_ASSIGN(Chain chain,
              Chain::open(access::links_of(files), kMostImageBytes, linking_of(invocation)));
  const uint64_t size = chain.shape().final_size();
  SNAP_ASSIGN(const auto most_zeroed, invocation.size_value("max-zeroed"));
  const std::string path = invocation.value("out").value_or("-");
  SNAP_ASSIGN(auto output,
              access::ByteOutput::open(door, path, access::StreamTarget::Content::kBinary));
  const auto writer = files.front()->driver().make(
      [&](std::span<const std::byte> bytes) { return output.write(bytes); }, level);
  ChangeEnd end;
  {
    const access::Phase phase(invocation.access(), "composing");
    SNAP_ASSIGN(end, compose_changes(chain, *writer, std::string(kProgram), phase.job(),
                                     most_zeroed.value_or(kMostZeroed)));
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
  command.summary = "make one diff out of several that follow each other";
  // clang-format off
  command.description =
      "Writes one diff that does what all DIFFs do, oldest first. No image is needed. Where several change the same place, the last one counts. The new diff applies to the base of the first one, and leads to the state of the last one, with its id. A DIFF that does not follow the one before it, or is not linked to it, is refused. Diffs from Ceph's rbd can be composed, too, as 'rbd merge-diff' does.";
  command.options = {
    level_option(),
    unlinked_option(),
    value("max-zeroed", "SIZE", "allow this much to become zeros where the image shrank and grew again (default: 1T)"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut, Shared::kJobs, Shared::kProgress, Shared::kJson};
  command.prints_data = out_is_stdout;
  command.run = run_compose;
  return command;
}

}  // namespace snaptool::cli
