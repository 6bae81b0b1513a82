// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/change_files.h"
#include "cli/command_table.h"
#include "cli/data_source.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/restore.h"

namespace snaptool::cli {
namespace {

Result<uint64_t> restore(const Invocation& invocation, DataSource& source,
                         const std::function<Result<RestoreTarget>(const DumpHeader&)>& target) {
  return restore_store([&](std::span<std::byte> out) -> Result<size_t> { return source.read(out); },
                       source.name(), target, invocation.cancel());
}

// Into a file that is there, once all of the dump was found to be one.
Result<uint64_t> restore_in_place(const Invocation& invocation, DataSource& source,
                                  const access::FileSpec& spec) {
  if (!source.can_rewind()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is there already: the dump must come from a file, so that it is "
                             "read once before anything is written",
                             spec.name()));
  }
  DumpVisitor nothing;
  nothing.begin = [](const DumpHeader&) -> Result<void> { return {}; };
  nothing.run = [&](const DumpRun&) -> Result<void> {
    if (invocation.cancel().requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    return {};
  };
  SNAP_TRY(read_dump([&](std::span<std::byte> out) -> Result<size_t> { return source.read(out); },
                     source.name(), nothing));
  SNAP_TRY(source.rewind());
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto cow, opener.open(spec, {Access::kReadWrite, false}));
  if (source.id() && source.id() == cow->id()) {
    return Error(ErrorCode::kInvalidArgument, "the dump and the COW are one file");
  }
  if (!invocation.has("force")) SNAP_TRY(access::check_has_no_content(*cow));
  const auto target = [&](const DumpHeader& dump) -> Result<RestoreTarget> {
    const auto* const posix = dynamic_cast<const PosixFile*>(cow.get());
    const bool can_grow = posix != nullptr && !posix->is_block_device();
    if (cow->size() < dump.cow_size && can_grow) SNAP_TRY(cow->resize(dump.cow_size));
    return RestoreTarget{cow.get(), false};
  };
  SNAP_ASSIGN(const uint64_t exceptions, restore(invocation, source, target));
  SNAP_TRY(cow->flush());
  if (spec.is_whole_file()) SNAP_TRY(flush_folder_of(spec.name()));
  return exceptions;
}

Result<uint64_t> restore_new(const Invocation& invocation, DataSource& source,
                             const std::string& path) {
  std::unique_ptr<OutputFile> output;
  const auto target = [&](const DumpHeader& dump) -> Result<RestoreTarget> {
    SNAP_ASSIGN(output, OutputFile::create(path, dump.cow_size, {}, false));
    return RestoreTarget{&output->file(), output->starts_zeroed()};
  };
  SNAP_ASSIGN(const uint64_t exceptions, restore(invocation, source, target));
  SNAP_TRY(output->commit());
  return exceptions;
}

Result<int> run(Invocation& invocation) {
  std::string path = invocation.operands()[1];
  SNAP_ASSIGN(const auto there, access::existing_cow(path));
  DataSource::Request request;
  request.input = invocation.operands()[0];
  SNAP_ASSIGN(DataSource source, DataSource::open(request));
  if (path.rfind("file:", 0) == 0) path.erase(0, 5);
  const auto exceptions =
      there ? restore_in_place(invocation, source, *there) : restore_new(invocation, source, path);
  if (!exceptions) return exceptions.error();
  if (invocation.json()) {
    const Json json = {{"format_version", 1}, {"cow", path}, {"exceptions", *exceptions}};
    SNAP_TRY(invocation.report(json.text()));
  } else {
    SNAP_TRY(invocation.report(
        fmt::format("'{}' has {} exception{}\n", path, *exceptions, *exceptions == 1 ? "" : "s")));
  }
  return kExitDone;
}

}  // namespace

CommandSpec restore_command() {
  CommandSpec command;
  command.name = "restore";
  command.operands = "FILE COW";
  command.min_operands = command.max_operands = 2;
  command.summary = "make a store's metadata out of a dump";
  command.description =
      "Writes the header and the list of exceptions that FILE has ('-': standard input), as 'dump' "
      "printed them, into COW: a new file, or one that is there and has no content. The data "
      "chunks are not in a dump: a new COW shows zeros there.\n\n"
      "With --force the metadata of a COW that has content are replaced, and its data chunks stay.";
  command.options = {{0,
                      "force",
                      OptionKind::kFlag,
                      "",
                      "replace the metadata of a COW that has content",
                      ValueHint::kNone,
                      {}}};
  command.shared = "O";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
