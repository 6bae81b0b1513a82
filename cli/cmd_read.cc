// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/image_bytes.h"
#include "cli/support/operands.h"

namespace snaptool::cli {
namespace {

// What --offset and --length say of an image.
Result<ByteRange> range_of(const Invocation& invocation, const Image& image) {
  SNAP_ASSIGN(const auto offset_option, invocation.size_value("offset"));
  SNAP_ASSIGN(const auto length_option, invocation.size_value("length"));
  const uint64_t offset = offset_option.value_or(0);
  if (offset > image.size()) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--offset {} lies beyond the image's end at byte {}", offset, image.size()));
  }
  const uint64_t length = length_option.value_or(image.size() - offset);
  if (length > image.size() - offset) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--length {} passes the image's end at byte {}", length, image.size()));
  }
  return ByteRange{offset, length};
}

Result<int> run_read(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage open, access::open_image(door.opener(), spec));
  SNAP_ASSIGN(const ByteRange range, range_of(invocation, open.image()));
  return write_bytes(invocation, door, open.image(), range);
}

}  // namespace

CommandSpec read_command() {
  CommandSpec command;
  command.name = "read";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "write the bytes of an image to standard output or a file";
  // clang-format off
  command.description =
      "Writes the content of IMAGE, or a range of it, to standard output or to a new file, where holes stay holes. 'snaptool read ORIGIN COW' gives what a guest on the snapshot would see.";
  command.options = {
    value("offset", "SIZE", "start there (default: 0)"),
    value("length", "SIZE", "read this much (default: to the end)"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,    Shared::kFormat,        Shared::kFollowParents,
                    Shared::kParent, Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,   Shared::kProgress,      Shared::kGroupBackup,
                    Shared::kCache};
  command.pairs = Pairs::kFirst;
  command.run = run_read;
  return command;
}

}  // namespace snaptool::cli
