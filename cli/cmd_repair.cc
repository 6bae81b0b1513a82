// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/findings.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/writing.h"
#include "libsnap/ops/store.h"

namespace snaptool::cli {
namespace {

std::string plural(uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// What the user must know of the store before its content is trusted.
void warn_of(const Invocation& invocation, const Salvage& salvage) {
  const std::string& name = salvage.cow().name();
  for (const Finding& finding : salvage.header_findings()) {
    invocation.warn(
        fmt::format("'{}': {} ({})", name, finding.message, defect_code_name(finding.code)));
  }
  if (salvage.chunk_size_from() == Salvage::ChunkSizeFrom::kAreas) {
    std::string others;
    for (const ChunkSizeGuess& guess : salvage.guesses()) {
      if (guess.chunk_sectors == salvage.layout().chunk_sectors()) {
        others = fmt::format("{} entries of the first areas fit", guess.fitting) + others;
      } else {
        others += fmt::format("; {} with {}", guess.fitting,
                              format_size(guess.chunk_sectors * kSectorSize));
      }
    }
    invocation.warn(
        fmt::format("'{}': from its areas, its chunks have {} ({}); --chunk-size says "
                    "another",
                    name, format_size(salvage.layout().chunk_bytes()), others));
  }
  if (salvage.invalid()) {
    invocation.warn(
        "the snapshot was invalid: where the origin was written since, its view shows the newer "
        "content; merging it mixes times");
  }
}

void warn_of_walk(const Invocation& invocation, const Salvage& salvage) {
  if (salvage.left_beyond_end() > 0) {
    invocation.warn(fmt::format(
        "behind the end of the list there are {} or more that look like entries: the rest of a "
        "merge, an older store, or a part of this one; --beyond-end takes them",
        salvage.left_beyond_end()));
  }
  if (salvage.taken_beyond() > 0) {
    invocation.warn(fmt::format(
        "{} of the entries lie behind the end of the list, or behind a destroyed area: they can "
        "be of an older store",
        salvage.taken_beyond()));
  }
}

Result<void> print(const Invocation& invocation, const Salvage& salvage, const RepairReport& report,
                   const std::optional<std::string>& out) {
  const uint64_t chunk_bytes = salvage.layout().chunk_bytes();
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"cow", salvage.cow().name()},
                 {"out", out ? Json(*out) : Json()},
                 {"chunk_size", chunk_bytes},
                 {"kept", report.kept},
                 {"separated", report.separated},
                 {"beyond_end", salvage.taken_beyond()},
                 {"least_size", report.size}};
    add_findings(json, report.dropped);
    return invocation.report(json.text());
  }
  uint64_t dropped = 0;
  for (const uint64_t count : report.dropped.counts) dropped += count;
  std::string text = findings_text(report.dropped);
  text += fmt::format("{}: {} {} ({}){}{}\n", salvage.cow().name(), out ? "kept" : "would keep",
                      plural(report.kept, "exception"), format_size(report.kept * chunk_bytes),
                      dropped == 0 ? "" : ", dropped " + plural(dropped, "defect"),
                      out ? fmt::format("; the sound store is '{}'", *out) : "");
  if (report.separated > 0) {
    text += fmt::format("{} had the data chunk of another, and {} of its own\n",
                        plural(report.separated, "exception"), "got a copy");
  }
  return invocation.report(text);
}

Result<ops::RepairJob::Request> request_of(const Invocation& invocation) {
  ops::RepairJob::Request request;
  if (invocation.operands().size() == 2) {
    SNAP_ASSIGN(request.image, origin_and_cow_operands(invocation));
  } else {
    SNAP_ASSIGN(request.image, target_operand(invocation));
  }
  if (const auto text = invocation.value("chunk-size")) {
    SNAP_ASSIGN(const uint64_t bytes, parse_chunk_size(*text));
    request.salvage.chunk_sectors = bytes / kSectorSize;
  }
  request.salvage.beyond_end = invocation.has("beyond-end");
  request.repair.compact = invocation.has("compact");
  return request;
}

Result<int> run(Invocation& invocation) {
  const auto out = invocation.value("out");
  const bool dry_run = invocation.has("dry-run");
  if (dry_run == out.has_value()) {
    return Error(ErrorCode::kInvalidArgument,
                 dry_run ? "--dry-run writes nothing: it does not go with --out"
                         : "-o NEW must say where the sound store goes (or --dry-run, to look)");
  }
  SNAP_ASSIGN(const ops::RepairJob::Request request, request_of(invocation));
  SNAP_ASSIGN(const auto job, ops::RepairJob::prepare(invocation.access(), request));
  warn_of(invocation, job->salvage());
  warn_of_walk(invocation, job->salvage());
  if (!dry_run) SNAP_TRY(job->run(*out));
  SNAP_TRY(print(invocation, job->salvage(), job->report(), out));
  return kExitDone;
}

}  // namespace

CommandSpec repair_command() {
  CommandSpec command;
  command.name = "repair";
  command.operands = "[ORIGIN] COW";
  command.min_operands = 1;
  command.max_operands = 2;
  command.summary = "make a sound store of what can be kept of a damaged one";
  // clang-format off
  command.description =
      "Writes a new, sound store with every exception of COW that can be kept, and lists what cannot. COW itself is only read. The new store shows what the kernel shows of the old one, but for the chunks that were dropped: these show the origin. With ORIGIN, exceptions beyond its end are dropped, too.\n\n"
      "A header that was wiped or overwritten is no hindrance: the chunk size is found from the areas. Behind an area that was overwritten, the list goes on where the kernel would have put the next.";
  command.options = {
    flag("dry-run", "only say what would be kept"),
    flag("ignore-invalid", "keep what a store has that was invalidated; the new one is valid"),
    flag("beyond-end", "also keep what looks like entries behind the end of the list"),
    value("chunk-size", "SIZE", "of COW, whatever its header says"),
    flag("compact", "put the data chunks side by side"),
    flag("force", "replace NEW if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kOut,      Shared::kForceShare, Shared::kJobs,
                    Shared::kProgress, Shared::kJson,       Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
