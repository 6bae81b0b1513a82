// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"
#include "cli/support/output_options.h"
#include "cli/support/text_output.h"
#include "cli/support/version.h"
#include "libsnap/access/byte_output.h"
#include "libsnap/access/plain_disk.h"
#include "libsnap/diff/export.h"
#include "libsnap/snap/store/dump.h"
#include "libsnap/snap/store/metadata_image.h"

namespace snaptool::cli {
namespace {

constexpr int kPackLevel = 12;  // of zstd: it is for mail

// The metadata as they are, sound or not, as a full diff of a COW that has nothing else.
Result<int> pack(const Invocation& invocation, access::Door& door, PersistentStore& store) {
  if (auto read = store.read_metadata(invocation.cancel()); !read && !store.missing_area()) {
    return std::move(read).error();
  }
  const uint64_t areas = store.missing_area().value_or(store.current_area() + 1);
  MetadataImage image(store.cow(), store.layout(), areas);
  SNAP_ASSIGN(auto output, access::ByteOutput::open(door, invocation.value("out").value_or("-"),
                                                    access::StreamTarget::Content::kBinary));
  const auto writer =
      invocation.access()
          .drivers.find_changes("snapdiff")
          ->make([&](std::span<const std::byte> bytes) { return output.write(bytes); }, kPackLevel);
  ExportOptions options;
  options.maker = kProgram;
  const access::Phase phase(invocation.access(), "packing");
  SNAP_TRY(export_changes(nullptr, image, *writer, options, phase.job()));
  SNAP_TRY(output.commit());
  return kExitDone;
}

Result<int> run_dump(Invocation& invocation) {
  SNAP_ASSIGN(const access::FileSpec spec, cow_operand(invocation, invocation.operands().front()));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(const auto cow, door.opener().open(spec, {Access::kRead, invocation.force_share()}));
  SNAP_TRY(access::check_no_plain_disk(invocation.access(), *cow));
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(*cow));
  if (store.state() == StoreState::kNone) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' is not a store yet: its magic is 0", cow->name()));
  }
  if (invocation.has("pack")) return pack(invocation, door, store);
  const DumpFormat format = invocation.json() ? DumpFormat::kJson : DumpFormat::kXml;
  SNAP_ASSIGN(auto output, TextOutput::open(door, invocation.value("out").value_or("-")));
  {
    const access::Phase phase(invocation.access(), "dumping");
    const auto write = [&](std::string_view text) {
      phase.job().progress.add(text.size());
      return output.write(text);
    };
    SNAP_TRY(dump_store(store, format, write, invocation.cancel()));
  }
  SNAP_TRY(output.commit());
  return kExitDone;
}

}  // namespace

CommandSpec dump_command() {
  CommandSpec command;
  command.name = "dump";
  command.operands = "COW";
  command.min_operands = command.max_operands = 1;
  command.summary = "print the metadata of a store as XML or JSON";
  // clang-format off
  command.description =
      "Prints the header and the list of exceptions, in the order of the list, as XML, or as json with --output=json. Consecutive exceptions are one run. An invalid store is dumped like any other. 'snaptool restore' turns it back into a store.\n\n"
      "With --pack, the output is a small file, easy to mail, of the header and areas as they are on disk, damaged or not: 'snaptool apply FILE -o COW' unpacks it to a COW without data.";
  command.options = {
    flag("pack", "write a compressed copy of the metadata, without data chunks"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut, Shared::kForceShare, Shared::kProgress, Shared::kJson,
                    Shared::kGroupBackup};
  command.prints_data = [](const ParsedOptions& options) {
    return options.has("pack") && out_is_stdout(options);
  };
  command.run = run_dump;
  return command;
}

}  // namespace snaptool::cli
