// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/report/findings.h"
#include "cli/report/image_sums.h"
#include "cli/support/against.h"
#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/operands.h"
#include "cli/support/pairs.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/ops/verify.h"

namespace snaptool::cli {
namespace {

std::string_view result_name(Severity worst) {
  return worst == Severity::kNote ? "sound" : severity_name(worst);
}

bool is_disk(const VerifyReport& report) {
  return std::any_of(report.findings.begin(), report.findings.end(),
                     [](const Finding& finding) { return finding.is_disk; });
}

std::string human(const VerifyReport& report, const std::string& cow, bool all) {
  const std::string findings = findings_text(report, all);
  if (is_disk(report)) return findings + text_line("{}: no COW", cow);
  if (report.count(DefectCode::kTooSmall) > 0) {
    return findings + text_line("{}: no store", cow);
  }
  if (report.count(DefectCode::kNoStore) > 0) {
    return findings + text_line("{}: a new store", cow);
  }
  const std::string_view result =
      report.result() == Severity::kUnsafe ? "unsafe to write to" : result_name(report.result());
  return findings + text_line("{}: {} ({} in {})", cow, result,
                              counted(report.exceptions, "exception"),
                              counted(report.areas, "area"));
}

Result<int> verify_one(Invocation& invocation) {
  const auto& operands = invocation.operands();
  if (is_own_file(operands.back(), Remedy::kCheckSums)) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{0}' is a manifest: --against {0}", operands.back()));
  }
  access::ImageSpec spec;
  if (operands.size() == 2) {
    SNAP_ASSIGN(spec, origin_and_cow_operands(invocation));
  } else {
    SNAP_ASSIGN(spec, target_operand(invocation));
    SNAP_ASSIGN(const auto image, ops::verify_image(invocation.access(), spec));
    if (image) return report_image(invocation, *image, access::name_of(spec));
  }
  SNAP_ASSIGN(const ops::Verified verified,
              ops::verify(invocation.access(), spec, invocation.has("data")));
  const VerifyReport& report = verified.report;
  if (invocation.json()) {
    Json json = {
        {"format_version", 1}, {"cow", verified.cow}, {"result", result_name(report.result())}};
    json["origin"] = verified.origin ? Json(*verified.origin) : Json();
    add_findings(json, report);
    json["exceptions"] = report.exceptions;
    json["areas"] = report.areas;
    json["runs"] = report.runs;
    SNAP_TRY(invocation.report(json.text()));
  } else {
    SNAP_TRY(invocation.report(human(report, verified.cow, invocation.has("verbose"))));
    if (!verified.origin && !is_disk(report) && invocation.run_count() == 1) {
      SNAP_TRY(invocation.report(
          "no origin was named, so whether the store fits one is not checked: name it as ORIGIN "
          "COW\n"));
    }
  }
  switch (report.result()) {
    case Severity::kNote:
      return kExitDone;
    case Severity::kHarmless:
      return kExitHarmless;
    case Severity::kUnsafe:
    case Severity::kCorrupt:
      return kExitCorrupt;
  }
  return kExitFailed;
}

Result<int> run_verify(Invocation& invocation) {
  if (invocation.has("against")) {
    if (invocation.has("data")) {
      return Error(ErrorCode::kInvalidArgument,
                   "--data checks a COW, --against an image: choose one");
    }
    return verify_against(invocation);
  }
  if (invocation.has("format")) {
    return Error(ErrorCode::kInvalidArgument,
                 "-f goes only with --against: a COW is always a dm-snapshot store");
  }
  if (invocation.operands().empty()) return missing_operands(invocation.command(), "");
  invocation.enter_sandbox(invocation.named_files());
  return invocation.run_each([&] { return verify_one(invocation); });
}

}  // namespace

CommandSpec verify_command() {
  CommandSpec command;
  command.name = "verify";
  command.operands = "[ORIGIN] COW";
  command.each = "COW COW...";
  command.other_form = "--against MANIFEST [IMAGE...]";
  command.min_operands = 0;  // the manifest may name them
  command.max_operands = 2;
  command.summary = "check every invariant of a store's metadata";
  // clang-format off
  command.description =
      "Checks the header, every area and every exception of a store. With ORIGIN, it also checks that no exception lies past its end, and that the UUIDs of disk, file system or PV are the same in both. Nothing is written, and no data chunk is read unless --data is given.\n\n"
      "For an Android sparse image and for evidence (E01), it checks the checksums inside the file. For E01, these are those of all chunks, and the MD5 and SHA-1 of the whole; damaged chunks are listed as ranges of the image.\n\n"
      "Each finding has a stable code, a severity, its place, what it means, what the kernel does with it, and how to fix it. Exit status: 0 sound; 3 only harmless findings; 2 corrupt, invalidated, or unsafe (it can be read and merged, but the kernel must not write to it); 1 could not check; 65 the evidence file or the manifest is damaged, so that it says nothing.\n\n"
      "With --against, the operands are images, and their content is checked against the checksums that 'snaptool hash' or sha256sum made. Of a manifest of several images, each is checked by the checksum of its name; without an operand, all that it names are checked, as 'sha256sum -c' does.";
  command.options = {
    flag("data", "also read every data chunk, past the page cache, to find bad sectors"),
    file("against", "MANIFEST", "check the content of images against the checksums in MANIFEST"),
    flag("ignore-invalid", "with --against: read what an invalid store still holds"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kFollowParents, Shared::kParent, Shared::kForceShare,
                    Shared::kJobs,   Shared::kProgress,      Shared::kJson,   Shared::kGroupBackup};
  command.enters_sandbox = true;
  command.run = run_verify;
  return command;
}

}  // namespace snaptool::cli
