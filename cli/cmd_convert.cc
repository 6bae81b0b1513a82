// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/convert_options.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/convert.h"

namespace snaptool::cli {
namespace {

Result<int> run_convert(Invocation& invocation) {
  SNAP_ASSIGN(const ops::ConvertRequest request, convert_request(invocation));
  SNAP_ASSIGN(const ops::Converted converted, ops::convert(invocation.access(), request));
  for (const ByteRange& range : converted.unreadable) {
    invocation.warn(fmt::format("{} at byte {} could not be read: zeros were written",
                                counted(range.length, "byte"), range.offset));
  }
  for (const auto& [algorithm, value] : converted.sums) {
    invocation.log_sum(request.path, algorithm, value);
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
  command.summary = "convert an image to another format";
  // clang-format off
  command.description =
      "Writes the content of IMAGE to OUT, in the format that -O names. Without -O, OUT is raw, and a name that promises another format (.qcow2, .vmdk, .vdi, .vhd, .vhdx, .E01, .simg) is refused. Zeros become holes. With --base, OUT is an overlay: it has only what differs from IMAGE0, and names IMAGE0 as its backing file. 'snaptool convert ORIGIN@COW OUT -O qcow2 --base ORIGIN' turns a snapshot into one.\n\n"
      "A new raw image is written as OUT.partial first; if that is interrupted, the same command continues. Other formats appear whole or not at all.\n\n"
      "An image in several files ('-O raw --option part_size=2G IMAGE out.001', '-O ewf --option segment_size=2G IMAGE out.E01') does not replace an old one: all files are written first, then they get their names, the first one last. A single out.E01 is not made next to an old out.E02 either, which would be read as a part of it.";
  command.options = {
    choice('O', "output-format", "FMT", "raw (the default), qcow2, vmdk, vpc (VHD), vhdx, vdi (VirtualBox), simg (Android sparse), ewf (E01 evidence), rbd (Ceph's whole images), or dm-snapshot (a store over the image that --base names)", {"raw", "qcow2", "ewf", "e01", "rbd", "simg", "vdi", "vhdx", "vmdk", "vpc", "vhd", "dm-snapshot"}),
    repeated(words("option", "NAME=VALUE", "a setting of the format; '--option help' lists them (see snaptool-convert(1))", setting_words())),
    flag('c', "compress", "compress the data: qcow2 by cluster, with zstd unless compression_type says otherwise; vmdk as streamOptimized; ewf is always compressed"),
    file("base", "IMAGE0", "make an overlay of IMAGE0, with only what differs from it"),
    value('S', "sparse", "SIZE", "-O raw: turn SIZE bytes of zeros into a hole (default: 4k); 0: make no holes"),
    flag('n', "no-create", "-O raw: write into OUT, which must exist"),
    choice('t', "cache", "MODE", "writeback (the default: OUT is durable when the command is done), none (durable, and the page cache is left as it is) or unsafe", {"none", "writeback", "unsafe"}),
    file("bmap", "MAP", "-O raw: copy only what MAP, a bmaptool block map, names, and check its checksums before and while copying; with -n, the rest of OUT is left as it is"),
    flag("salvage", "where IMAGE cannot be read, write zeros and carry on; the exit status is then 65"),
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
  command.prints_data = [](const ParsedOptions& options) {
    return !options.operands().empty() && is_stdout(options.operands().back());
  };
  command.pairs = Pairs::kFirst;
  command.done = "converted";
  command.run = run_convert;
  return command;
}

}  // namespace snaptool::cli
