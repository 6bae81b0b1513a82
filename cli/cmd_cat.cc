// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <charconv>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/image_bytes.h"
#include "cli/support/operands.h"
#include "libsnap/ops/files.h"

namespace snaptool::cli {
namespace {

Result<access::FileNode> file_asked_for(const Invocation& invocation, access::FileSystem& files) {
  const auto& operands = invocation.operands();
  const auto inode = invocation.value("inode");
  if (!inode) return ops::find_file(files, operands[1]);
  uint64_t number = 0;
  const char* const last = inode->data() + inode->size();
  const auto [end, error] = std::from_chars(inode->data(), last, number);
  if (end != last || error != std::errc()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--inode takes a number, not '{}'", *inode));
  }
  return files.node(number);
}

Result<int> run_cat(Invocation& invocation) {
  if (invocation.has("inode") == (invocation.operands().size() > 1)) {
    return Error(ErrorCode::kInvalidArgument, "name the file: its PATH, or its --inode");
  }
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
  SNAP_ASSIGN(const auto files, ops::open_file_system(invocation.access(), open.image()));
  SNAP_ASSIGN(const access::FileNode node, file_asked_for(invocation, *files));
  const auto& operands = invocation.operands();
  const std::string name = operands.size() > 1 ? operands[1] : fmt::format("inode {}", node.id);
  if (node.type != access::NodeType::kFile) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is not a regular file", name));
  }
  if (node.encrypted) {
    invocation.warn(fmt::format("'{}' is encrypted, and is written out as it is", name));
  }
  if (node.deleted) {
    invocation.warn(
        fmt::format("'{}' is deleted: its bytes may belong to another file by now", name));
  }
  ops::FileImage image(*files, node, name);
  return write_bytes(invocation, door, image, {0, image.size()});
}

}  // namespace

CommandSpec cat_command() {
  CommandSpec command;
  command.name = "cat";
  command.operands = "IMAGE [PATH]";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "write a file within an image to standard output or a file";
  // clang-format off
  command.description =
      "Writes the content of the file PATH in the file system of IMAGE, without mounting it; 'snaptool ls' lists the files. In a new file, holes stay holes. Links are not followed.";
  command.options = {
    value("inode", "N", "the file with that number, whatever its name; it can be a deleted one"),
    flag("ignore-invalid", "read what an invalid store still holds"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,      Shared::kFormat,      Shared::kFollowParents,
                    Shared::kParent,   Shared::kForceShare,  Shared::kJobs,
                    Shared::kProgress, Shared::kGroupBackup, Shared::kCache};
  command.pairs = Pairs::kFirst;
  command.run = run_cat;
  return command;
}

}  // namespace snaptool::cli
