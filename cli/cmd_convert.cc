// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/convert_options.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/convert.h"

namespace snaptool::cli {
namespace {

Result<int> run_convert(Invocation& invocation) {
  SNAP_ASSIGN(const ops::ConvertRequest request, convert_request(invocation));
  SNAP_ASSIGN(const ops::Converted converted, ops::convert(invocation.access(), request));
  for (const ByteRange& range : converted.unreadable) {
    invocation.warn(fmt::format("{} bytes at byte {} could not be read: there are zeros",
                                range.length, range.offset));
  }
  const uint64_t lost = converted.unreadable_bytes;
  const int status = lost > 0 ? kExitDamagedInput : kExitDone;
  if (converted.streamed) return status;  // standard output may be the image itself
  const Json json = {{"format_version", 1},
                     {"filename", request.path},
                     {"format", request.driver->name},
                     {"virtual_size", converted.size},
                     {"data_bytes", converted.result.data_bytes},
                     {"zero_bytes", converted.result.zero_bytes},
                     {"unreadable_bytes", lost}};
  const std::string text =
      text_line("{}: {} of data{}", request.path, format_size(converted.result.data_bytes),
                lost > 0 ? fmt::format(", and {} that could not be read", format_size(lost)) : "");
  SNAP_TRY(invocation.report(invocation.json() ? json.text() : text));
  return status;
}

}  // namespace

CommandSpec convert_command() {
  CommandSpec command;
  command.name = "convert";
  command.operands = "IMAGE OUT";
  command.min_operands = command.max_operands = 2;
  command.summary = "make an image of another format";
  // clang-format off
  command.description =
      "Writes the content of IMAGE to OUT, in the format that -O names. Zeros become holes. With --base, OUT is an overlay: it has only what differs from IMAGE0, and names that as its backing file. 'snaptool convert ORIGIN@COW OUT -O qcow2 --base ORIGIN' makes one of a snapshot.\n\n"
      "A new raw image is written as OUT.partial first: if that is interrupted, the same command goes on with it. Other formats appear whole or not at all.\n\n"
      "An image in several files ('-O raw --option part_size=2G IMAGE out.001', '-O ewf --option segment_size=2G IMAGE out.E01') replaces none: all are written first, then they get their names, the first one last. Nor is a single out.E01 made beside an old out.E02, which would be taken for a part of it.";
  command.options = {
    choice('O', "output-format", "FMT", "raw (the default), qcow2, vmdk, vpc (VHD), vhdx, vdi (VirtualBox), simg (Android sparse), ewf (E01 evidence), rbd (Ceph's whole images), or dm-snapshot: a store over the image that --base names", {"raw", "qcow2", "ewf", "rbd", "simg", "vdi", "vhdx", "vmdk", "vpc", "vhd", "dm-snapshot"}),
    repeated(words("option", "NAME=VALUE", "a setting of the format; '--option help' lists them (see snaptool-convert(1))", setting_words())),
    flag('c', "compress", "compress the data: of qcow2 each cluster, with zstd unless compression_type says otherwise; of vmdk, as streamOptimized; ewf always is"),
    file("base", "IMAGE0", "only what differs from IMAGE0, as an overlay of it"),
    value('S', "sparse", "SIZE", "-O raw: SIZE bytes of zeros become a hole (default: 4k); 0: none do"),
    flag('n', "no-create", "-O raw: write into OUT, which is there"),
    choice('t', "cache", "MODE", "writeback (the default: OUT is durable when the command is done), none (durable, and the page cache is left as it is) or unsafe", {"none", "writeback", "unsafe"}),
    file("bmap", "MAP", "-O raw: copy only what MAP names, a block map of bmaptool, and check its sums before and while that is done; with -n, all else in OUT stays as it is"),
    flag("salvage", "go on where IMAGE cannot be read: there will be zeros, and exit status 65"),
    flag("verify", "read OUT back and compare it before it gets its name"),
    flag("force", "replace OUT if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kSecondFormat,  Shared::kFollowParents,
                    Shared::kParent,     Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,       Shared::kProgress,      Shared::kJson,
                    Shared::kGroupBackup};
  command.writes = Writes::kLast;
  command.tell = settings_help;
  command.pairs = Pairs::kFirst;
  command.done = "converted";
  command.run = run_convert;
  return command;
}

}  // namespace snaptool::cli
