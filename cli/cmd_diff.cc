// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/report/comparison_head.h"
#include "cli/report/examiner.h"
#include "cli/report/file_changes.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/operands.h"
#include "libsnap/snap/store/layout.h"

namespace snaptool::cli {
namespace {

constexpr uint64_t kMostGranularity = kGiB;

Result<uint64_t> granularity_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("granularity"));
  const uint64_t granularity = given.value_or(kSectorSize);
  if (granularity < kSectorSize || granularity > kMostGranularity ||
      granularity % kSectorSize != 0) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("--granularity {}: a multiple of 512 is wanted, up to 1G", granularity));
  }
  return granularity;
}

Result<int> run_diff(Invocation& invocation) {
  SNAP_ASSIGN(const ExaminerOptions wanted, examiner_options(invocation));
  CompareOptions options;
  SNAP_ASSIGN(options.granularity, granularity_of(invocation));
  options.strict = invocation.has("strict");
  SNAP_ASSIGN(const access::ImageSpec first, image_operand(invocation, 0));
  SNAP_ASSIGN(const access::ImageSpec second, image_operand(invocation, 1, "second-format"));
  access::Door door(invocation.access(), access::operations::kOutput);
  SNAP_ASSIGN(access::OpenImage before, access::open_image(door.opener(), first));
  SNAP_ASSIGN(access::OpenImage after, access::open_image(door.opener(), second));
  SNAP_ASSIGN(auto out, TextOutput::open(door, "-"));
  std::vector<std::unique_ptr<ReportWriter>> writers;
  if (invocation.json()) {
    writers.push_back(make_json_report(out));
  } else if (!invocation.quiet()) {
    const bool ranges = !invocation.has("files") || invocation.has("hash") || invocation.has("hex");
    writers.push_back(make_text_report(out, {ranges, invocation.has("hash")}));
  }
  ReportFiles reports;
  SNAP_TRY(reports.open(invocation, door, writers));
  SNAP_ASSIGN(const ReportHead head,
              comparison_head(invocation, {first, before}, {second, after}, options));
  for (const auto& writer : writers) SNAP_TRY(writer->begin(head));

  ReportTail tail;
  ops::ChangedRanges changed;
  {
    const access::Phase phase(invocation.access(), "comparing",
                              std::max(head.before.size, head.after.size));
    Examiner examiner(before.image(), after.image(), wanted, phase.job());
    SNAP_ASSIGN(tail.summary, compare_images(
                                  before.image(), after.image(), options,
                                  [&](const Difference& difference) -> Result<void> {
                                    changed.add(difference.offset, difference.length);
                                    if (writers.empty()) return {};
                                    SNAP_ASSIGN(const ReportRange range,
                                                examiner.examine(difference));
                                    for (const auto& writer : writers) SNAP_TRY(writer->add(range));
                                    return {};
                                  },
                                  phase.job()));
  }
  tail.equal = tail.summary.equal(options);
  if (invocation.has("files")) {
    SNAP_ASSIGN(tail.files,
                compare_files(invocation, before.image(), after.image(), changed, writers));
    tail.equal = tail.files->equal;
  }
  SNAP_ASSIGN(tail.chunk_size, chunk_size_of(before, after));
  for (const auto& writer : writers) SNAP_TRY(writer->finish(tail));
  invocation.log_result(tail.files   ? tail.equal ? "no file differs" : "files differ"
                        : tail.equal ? "the images are equal"
                                     : "the images differ");
  SNAP_TRY(reports.commit());
  SNAP_TRY(out.commit());
  if (tail.files && tail.files->problems > 0) return files_not_read(*tail.files);
  return tail.equal ? kExitDone : kExitFailed;
}

}  // namespace

CommandSpec diff_command() {
  CommandSpec command;
  command.name = "diff";
  command.operands = "IMAGE1 IMAGE2";
  command.min_operands = command.max_operands = 2;
  command.summary = "show where two images differ, and in which files; write a report";
  // clang-format off
  command.description =
      "Compares two images and lists the ranges that differ. What both take from the same place (the same file, an origin and its snapshot, reflinked extents) is not read, and neither are holes in both: ORIGIN against ORIGIN@COW reads only the exceptions. If one image is larger, the rest of it is compared with zeros. Exit status 0: equal; 1: they differ; 2 and above: the comparison failed.\n\n"
      "--report writes json, DFXML (.xml) or one HTML page with a picture of the disk, each with the SHA-256 of both images and of every range before and after.\n\n"
      "--files lists the files that differ, without mounting: created, deleted, modified, renamed. Exit status 0 then means that no file differs, even if other bytes do.";
  command.options = {
    flag("strict", "count a hole and stored zeros as different, and images of different sizes, too"),
    value("date", "TIME", "the time in the report, as 2026-11-26T09:30:00Z or @SECONDS (default: SOURCE_DATE_EPOCH, or now)"),
    value("granularity", "SIZE", "ranges begin and end at multiples of SIZE (default: 512)"),
    flag("hash", "show the SHA-256 and entropy of each range, before and after"),
    {0, "files", OptionKind::kOptionalValue, "full", "list the files that differ; =full: read all files, whatever the ranges say", ValueHint::kChoices, {"full"}},
    {0, "hex", OptionKind::kOptionalValue, "SIZE", "show this many bytes of each range, before and after, from the first that differs (default: 64)", ValueHint::kNone, {}},
    repeated(written(file("report", "FILE", "write a report to FILE: .json, .xml (DFXML) or .html (repeatable)"))),
    value("algorithm", "NAME[,...]", "the sums of the whole images in the report: sha256 (the default), sha512, sha1, md5, or several of them"),
    value("case", "TEXT", "the case number in the report"),
    value("examiner", "TEXT", "who examined the images, for the report"),
    repeated(value("note", "TEXT", "a note for the report (repeatable)")),
    flag("ignore-invalid", "compare what an invalid store still holds"),
    flag("force", "replace FILE if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kSecondFormat, Shared::kFollowParents,
                    Shared::kForceShare, Shared::kJobs,         Shared::kProgress,
                    Shared::kJson,       Shared::kGroupBackup};
  command.failed = kExitCorrupt;
  command.pairs = Pairs::kEach;
  command.run = run_diff;
  return command;
}

}  // namespace snaptool::cli
