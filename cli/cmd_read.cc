// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "libsnap/copy/copy_image.h"
#include "libsnap/io/output_file.h"

namespace snaptool::cli {
namespace {

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  SNAP_ASSIGN(const auto offset_option, invocation.size_value("offset"));
  SNAP_ASSIGN(const auto length_option, invocation.size_value("length"));
  SNAP_ASSIGN(access::OpenImage open, access::open_image(invocation.access(), spec));
  Image& image = open.image();
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
  Progress progress;
  progress.set_size(length);
  const Job job = invocation.job(progress);
  const std::string target = invocation.value("out").value_or("-");
  SNAP_TRY(access::check_output_name(target));
  SNAP_ASSIGN(const auto stream, StreamTarget::open(target, StreamTarget::Content::kBinary));
  if (stream) {
    const ProgressReporter reporter("reading", invocation.progress_style(), progress);
    SNAP_TRY(stream_image(
        image, offset, length,
        [&](std::span<const std::byte> bytes) { return write_all(stream.fd(), bytes); }, job));
    return kExitDone;
  }
  std::vector<const File*> inputs;
  for (const auto& file : open.opened) inputs.push_back(file.get());
  SNAP_ASSIGN(const auto output,
              OutputFile::create(target, length, inputs, invocation.has("force")));
  {
    const ProgressReporter reporter("reading", invocation.progress_style(), progress);
    SNAP_TRY(copy_image(image, offset, length, output->file(), output->starts_zeroed(), job));
  }
  SNAP_TRY(output->commit());
  return kExitDone;
}

}  // namespace

CommandSpec read_command() {
  CommandSpec command;
  command.name = "read";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary = "write the bytes of an image to standard output or a file";
  command.description =
      "Writes the content of IMAGE, or a range of it, to standard output or to a new file, where "
      "holes stay "
      "holes. 'snaptool read ORIGIN@COW' gives what a guest on the snapshot would see.";
  command.options = {
      {0, "offset", OptionKind::kValue, "SIZE", "start there (default: 0)", ValueHint::kNone, {}},
      {0,
       "length",
       OptionKind::kValue,
       "SIZE",
       "read so much (default: to the end)",
       ValueHint::kNone,
       {}},
      {0, "force", OptionKind::kFlag, "", "replace FILE if it exists", ValueHint::kNone, {}}};
  command.shared = "ofLPIUjpg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
