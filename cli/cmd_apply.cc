// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>

#include "cli/report/apply.h"
#include "cli/support/command_table.h"
#include "cli/support/data_source.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"
#include "cli/support/output_options.h"
#include "cli/support/pairs.h"
#include "libsnap/ops/apply.h"

namespace snaptool::cli {
namespace {

// Whether nothing is to be named that a full diff would be applied to.
Result<bool> is_full(const Invocation& invocation) {
  const auto& operands = invocation.operands();
  if (operands.front() == "-") return operands.size() == 1;
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto first, access::ChangeFile::open(opener, operands.front()));
  SNAP_ASSIGN(const auto reader, first->reader());
  return reader->header().full;
}

// -o: the base stays as it is.
Result<int> apply_to_new(const Invocation& invocation, ops::ApplyRequest request) {
  for (const char* const option : {"journal", "resume-without-journal"}) {
    if (!invocation.has(option)) continue;
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--{} is for an apply in place; it does not go with -o", option));
  }
  const std::string out = *invocation.value("out");
  auto& paths = request.diffs.paths;
  SNAP_ASSIGN(const bool full, is_full(invocation));
  std::optional<access::ImageSpec> image;
  if (!full) {
    if (paths.size() < 2) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is not a full diff: name the image it applies to after it",
                               paths.front()));
    }
    SNAP_ASSIGN(image, image_operand(invocation, paths.size() - 1));
    paths.pop_back();
  }
  SNAP_ASSIGN(const ops::ApplyResult result,
              ops::apply_to_new(invocation.access(), request, image, out));
  SNAP_TRY(report_apply(invocation, paths.size(), out, result));
  return kExitDone;
}

Result<void> check_image_last(const std::string& last) {
  std::error_code failed;
  if (is_own_file(last, Remedy::kApplyDiff)) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is a diff: the image comes last, or -o NEW makes a new one", last));
  }
  const bool is_plain = last.find_first_of("@#,") == std::string::npos;
  if (!is_plain || std::filesystem::exists(last, failed)) return {};
  return Error(
      ErrorCode::kNotFound,
      fmt::format("there is no image '{0}': -o {0} makes it, if the first diff is full, or "
                  "of the image that is named last",
                  last));
}

Result<int> apply_in_place(const Invocation& invocation, ops::ApplyRequest request) {
  auto& paths = request.diffs.paths;
  if (paths.size() < 2) {
    // One that is no diff is the image, and the diffs are missing.
    SNAP_TRY(is_full(invocation));
    return Error(ErrorCode::kInvalidArgument,
                 "an image must follow the diffs, or -o NEW for a full one");
  }
  SNAP_TRY(check_image_last(paths.back()));
  SNAP_ASSIGN(const access::ImageSpec image, target_operand(invocation, paths.size() - 1));
  paths.pop_back();
  SNAP_ASSIGN(const auto job, ops::ApplyJob::prepare(invocation.access(), request, image,
                                                     invocation.value("journal")));
  auto result = job->run();
  if (!result) {
    Error error = std::move(result).error();
    if (!job->is_half_done()) return error;
    if (error.code() == ErrorCode::kInterrupted) {
      error = Error(ErrorCode::kInterrupted, "interrupted");
    }
    return std::move(error).with_note(fmt::format("the image is between two states: '{}' finishes",
                                                  resume_apply(invocation, job->paths())));
  }
  SNAP_TRY(report_apply(invocation, paths.size(), access::name_of(image), *result));
  return kExitDone;
}

Result<int> run_apply(Invocation& invocation) {
  ops::ApplyRequest request;
  request.diffs.paths = invocation.operands();
  request.diffs.spool = invocation.value("spool").value_or("");
  request.diffs.linking = linking_of(invocation);
  request.verify_base = invocation.has("verify-base");
  request.without_journal = invocation.has("resume-without-journal");
  std::optional<DataSource> stream;
  for (const std::string& path : request.diffs.paths) {
    if (path != "-" || stream) continue;
    DataSource::Request input;
    input.input = "-";
    SNAP_ASSIGN(auto source, DataSource::open(input));
    request.diffs.stream = &stream.emplace(std::move(source));
  }
  return invocation.has("out") ? apply_to_new(invocation, std::move(request))
                               : apply_in_place(invocation, std::move(request));
}

}  // namespace

CommandSpec apply_command() {
  CommandSpec command;
  command.name = "apply";
  command.operands = "DIFF... IMAGE";
  command.min_operands = 1;
  command.max_operands = 4096;
  command.summary = "apply diffs to an image, in place and crash-safe, or to a new file";
  // clang-format off
  command.description =
      "Brings IMAGE to the state that the last DIFF leads to. Several diffs are a chain, oldest first; each range is written once. Everything is checked before the first write: that no diff is damaged or truncated, that each follows the one before it, and that IMAGE holds what they expect where they change it. Diffs of whole images, and those exported with --parent or --verify-base, say what they follow; a diff that nothing links to the one before it is refused. If the run is interrupted by a signal, a crash or a power cut, the same command finishes the job: a small journal next to IMAGE says how far it got.\n\n"
      "With -o, IMAGE is only read; leave it out if the first DIFF is a full one. '-' is standard input, which is kept in a file until it is applied. Diffs from Ceph's rbd can be applied to raw images, too, but they have no checksums.";
  command.options = {
    written(file("journal", "FILE", "keep the journal there (default: IMAGE.snaptool-journal; needed for devices)")),
    written(file("spool", "FILE", "keep standard input there until it is applied (default: IMAGE.snaptool-spool)")),
    unlinked_option(),
    flag("verify-base", "read all of IMAGE: it must be the whole base of the first diff, and become the whole target of the last"),
    flag("resume-without-journal", "finish an interrupted apply whose journal is lost: write the changes whatever IMAGE holds there"),
    flag("ignore-invalid", "with -o, read what an invalid store still holds"),
    flag("force", "replace FILE if it exists; write to a volume whose other snapshots this breaks; drop what a torn write left past the end of a store's list; continue in a copy of the image that an interrupted apply was writing to"),
  };
  // clang-format on
  command.shared = {Shared::kOut,      Shared::kFormat, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,   Shared::kGroupBackup};
  command.writes = Writes::kLast;
  command.done = "applied";
  command.run = run_apply;
  return command;
}

}  // namespace snaptool::cli
