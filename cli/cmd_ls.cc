// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report/file_rows.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"

namespace snaptool::cli {
namespace {

FileRows::Form form_of(const Invocation& invocation) {
  if (invocation.json()) return FileRows::Form::kJson;
  return invocation.has("long") ? FileRows::Form::kLong : FileRows::Form::kNames;
}

// `path` without the slashes around it.
std::string trimmed(std::string path) {
  path.erase(0, path.find_first_not_of('/'));
  path.resize(path.find_last_not_of('/') + 1);
  return path;
}

Result<void> list(const Invocation& invocation, access::FileSystem& files, FileRows& rows) {
  const auto& operands = invocation.operands();
  const std::string path = trimmed(operands.size() > 1 ? operands[1] : "");
  SNAP_ASSIGN(const access::FileNode node, ops::find_file(files, path));
  SNAP_TRY(rows.start());
  if (node.type == access::NodeType::kFolder) {
    const ops::WalkOptions options{invocation.has("recursive"), invocation.has("deleted")};
    auto walked = ops::walk_files(files, path, node, options, invocation.cancel(),
                                  [&](const ops::FoundFile& found) { return rows.add(found); });
    if (!walked && walked.error().code() != ErrorCode::kCorruption) return walked;
    SNAP_TRY(rows.finish());
    return walked;
  }
  access::FileEntry entry;
  entry.id = node.id;
  entry.type = node.type;
  SNAP_TRY(rows.add({path, entry, node}));
  return rows.finish();
}

Result<int> run_ls(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
  SNAP_ASSIGN(const auto files, ops::open_file_system(invocation.access(), open.image()));
  SNAP_ASSIGN(auto out, TextOutput::open(door, invocation.value("out").value_or("-")));
  FileRows rows(*files, form_of(invocation), out);
  auto listed = list(invocation, *files, rows);
  if (!listed && listed.error().code() != ErrorCode::kCorruption) return listed.error();
  SNAP_TRY(out.commit());
  SNAP_TRY(std::move(listed));
  if (rows.broken() == 0) return kExitDone;
  return Error(ErrorCode::kCorruption,
               fmt::format("{} of the files could not be read", rows.broken()));
}

}  // namespace

CommandSpec ls_command() {
  CommandSpec command;
  command.name = "ls";
  command.operands = "IMAGE [PATH]";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "list the files within an image";
  // clang-format off
  command.description =
      "Lists what is in the folder PATH (or the root) of the file system that IMAGE holds, without mounting it: a partition of a disk ('disk.dd#p2'), a logical volume, a view. ext2 to ext4, FAT, exFAT, NTFS, ISO 9660 and HFS+ are read. Links are not followed, and a journal is not replayed.\n\n"
      "Times are in UTC, as the file system recorded them. FAT records local time in an unknown zone; such times have no Z.";
  command.options = {
    flag('l', "long", "show inode, type and mode, links, owner and group, size, time of the last change, and the target of a link"),
    flag('R', "recursive", "also list what is in the folders, all the way down"),
    flag("deleted", "also list names of deleted files, where there are traces of them"),
    flag("ignore-invalid", "show what an invalid store still holds"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,        Shared::kFormat, Shared::kFollowParents, Shared::kParent,
                    Shared::kForceShare, Shared::kJson,   Shared::kGroupBackup};
  command.pairs = Pairs::kFirst;
  command.run = run_ls;
  return command;
}

}  // namespace snaptool::cli
