// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/against.h"
#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/findings.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "libsnap/snap/identity.h"
#include "libsnap/snap/tail.h"
#include "libsnap/snap/verify_data.h"

namespace snaptool::cli {
namespace {

std::string_view result_name(Severity worst) {
  return worst == Severity::kNote ? "sound" : severity_name(worst);
}

std::string human(const VerifyReport& report, const std::string& cow) {
  if (report.count(DefectCode::kTooSmall) > 0) {
    return findings_text(report) + fmt::format("{}: no store\n", cow);
  }
  if (report.count(DefectCode::kNoStore) > 0) {
    return findings_text(report) + fmt::format("{}: a new store\n", cow);
  }
  const std::string_view result =
      report.result() == Severity::kUnsafe ? "unsafe to write to" : result_name(report.result());
  return findings_text(report) + fmt::format("{}: {} ({} exception{} in {} area{})\n", cow, result,
                                             report.exceptions, report.exceptions == 1 ? "" : "s",
                                             report.areas, report.areas == 1 ? "" : "s");
}

// Whether what lies behind the end of the list is somebody's only copy.
Result<void> check_list_tail(File& origin, File& cow, VerifyReport& report, const Cancel& cancel) {
  if (report.count(DefectCode::kLiveBehindTerminator) == 0 || refusal_of(report, cow, "", true)) {
    return {};
  }
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(cancel));
  RawImage base(origin, origin.size());
  SNAP_ASSIGN(auto doubt, doubt_of_tail(store, base, cancel));
  if (!doubt) return {};
  Finding finding;
  finding.code = DefectCode::kUnmergedTail;
  finding.message = std::move(*doubt);
  report.add(std::move(finding));
  return {};
}

// Whether the store may be another origin's, as merge asks. A corrupt one is not read for it.
Result<void> compare_identities(File& origin, File& cow, VerifyReport& report,
                                const Cancel& cancel) {
  if (refusal_of(report, cow, "", true)) return {};
  SNAP_ASSIGN(const auto found, contradictions_of(origin, cow, cancel));
  for (const std::string& text : found) {
    Finding finding;
    finding.code = DefectCode::kOtherOrigin;
    finding.message = text;
    report.add(std::move(finding));
  }
  return {};
}

Result<int> run(Invocation& invocation) {
  if (invocation.has("against")) {
    if (invocation.has("data")) {
      return Error(ErrorCode::kInvalidArgument,
                   "--data is about a COW, --against about an image: one of them");
    }
    return verify_against(invocation);
  }
  if (invocation.has("format")) {
    return Error(ErrorCode::kInvalidArgument, "-f is for the image of --against: a COW is a store");
  }
  const auto& operands = invocation.operands();
  access::ImageSpec spec;
  if (operands.size() == 2) {
    SNAP_ASSIGN(spec, origin_and_cow_operands(invocation));
  } else {
    SNAP_ASSIGN(spec, target_operand(invocation));
  }
  if (spec.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported, "verifying a stack of stores: verify them one by one");
  }
  const OpenOptions options{Access::kRead, invocation.force_share()};
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto base, opener.open(spec.base, options));
  std::shared_ptr<File> store;
  std::optional<uint64_t> origin_size;
  if (!spec.stores.empty()) {
    SNAP_ASSIGN(store, opener.open(spec.stores.front(), options));
    SNAP_TRY(access::check_origin_and_cow(invocation.access(), spec.base, *base, *store));
    origin_size = base->size();
  }
  File& cow = store ? *store : *base;
  SNAP_ASSIGN(VerifyReport report, verify_store(cow, origin_size, invocation.cancel()));
  if (store) {
    SNAP_TRY(compare_identities(*base, cow, report, invocation.cancel()));
    SNAP_TRY(check_list_tail(*base, cow, report, invocation.cancel()));
  }
  if (invocation.has("data") && report.header) {
    const access::Phase phase(invocation.access(), "reading",
                              report.exceptions * report.header->chunk_size * kSectorSize);
    SNAP_TRY(verify_data(cow, report, phase.job()));
  }

  if (invocation.json()) {
    Json json = {
        {"format_version", 1}, {"cow", cow.name()}, {"result", result_name(report.result())}};
    json["origin"] = store ? Json(base->name()) : Json();
    add_findings(json, report);
    json["exceptions"] = report.exceptions;
    json["areas"] = report.areas;
    json["runs"] = report.runs;
    SNAP_TRY(invocation.report(json.text()));
  } else {
    SNAP_TRY(invocation.report(human(report, cow.name())));
    if (!store) {
      SNAP_TRY(invocation.report(
          "no origin was named: whether the store belongs to one, and ends within it, is not "
          "checked\n"));
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

}  // namespace

CommandSpec verify_command() {
  CommandSpec command;
  command.name = "verify";
  command.operands = "[ORIGIN] COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "check every invariant of a store's metadata";
  // clang-format off
  command.description =
      "Checks the header, every area and every exception of a store. With ORIGIN, also that no exception lies beyond it, and that the UUIDs of disk, file system or PV are the same in both. Nothing is written, and no data chunk is read unless --data is given.\n\n"
      "Each finding has a stable code, a severity, its place, what it means, what the kernel does with it, and what mends it. Exit status: 0 sound; 3 only harmless findings; 2 corrupt, invalidated, or unsafe (read and merged as it is, but not to be written to by the kernel); 1 could not check.\n\n"
      "With --against, the operand is an image, and what is checked is its content: against the sums that 'snaptool hash' or sha256sum made of it.";
  command.options = {
    flag("data", "also read every data chunk, to find bad sectors"),
    file("against", "MANIFEST", "check the content of IMAGE against the sums in MANIFEST"),
    flag("ignore-invalid", "with --against: read what an invalid store still holds"),
  };
  // clang-format on
  command.shared = {Shared::kFormat, Shared::kFollowParents, Shared::kParent, Shared::kForceShare,
                    Shared::kJobs,   Shared::kProgress,      Shared::kJson,   Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
