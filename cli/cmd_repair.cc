// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/findings.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/writing.h"
#include "libsnap/io/output_file.h"
#include "libsnap/snap/repair.h"

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

Result<int> run(Invocation& invocation) {
  const auto& operands = invocation.operands();
  access::ImageSpec spec;
  if (operands.size() == 2) {
    SNAP_ASSIGN(spec, origin_and_cow_operands(invocation));
  } else {
    SNAP_ASSIGN(spec, target_operand(invocation));
  }
  if (spec.stores.size() > 1) {
    return Error(ErrorCode::kUnsupported, "repairing a stack of stores: repair them one by one");
  }
  const auto out = invocation.value("out");
  const bool dry_run = invocation.has("dry-run");
  if (dry_run == out.has_value()) {
    return Error(ErrorCode::kInvalidArgument,
                 dry_run ? "--dry-run writes nothing: it does not go with --out"
                         : "-o NEW must say where the sound store goes (or --dry-run, to look)");
  }
  SalvageOptions options;
  if (const auto text = invocation.value("chunk-size")) {
    SNAP_ASSIGN(const uint64_t bytes, parse_chunk_size(*text));
    options.chunk_sectors = bytes / kSectorSize;
  }
  options.beyond_end = invocation.has("beyond-end");
  const OpenOptions access{Access::kRead, invocation.force_share()};
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto base, opener.open(spec.base, access));
  std::shared_ptr<File> cow = base;
  if (!spec.stores.empty()) {
    SNAP_ASSIGN(cow, opener.open(spec.stores.front(), access));
    SNAP_TRY(access::check_origin_and_cow(invocation.access(), spec.base, *base, *cow));
    options.origin_size = base->size();
  }
  SNAP_ASSIGN(Salvage salvage, Salvage::open(*cow, options));
  if (salvage.invalid() && !invocation.has("ignore-invalid")) {
    return Error(ErrorCode::kInvalidated,
                 fmt::format("'{}' is marked invalid: the origin may have been written since "
                             "without it; with --ignore-invalid what it has is kept",
                             cow->name()));
  }
  warn_of(invocation, salvage);
  RepairOptions repair;
  repair.compact = invocation.has("compact");
  SNAP_ASSIGN(RepairReport report, plan_repair(salvage, repair, invocation.cancel()));
  warn_of_walk(invocation, salvage);
  if (dry_run) {
    SNAP_TRY(print(invocation, salvage, report, std::nullopt));
    return kExitDone;
  }
  // As large as before, so that there is as much room for more.
  const uint64_t size = std::max(cow->size(), report.size);
  SNAP_ASSIGN(const auto output,
              OutputFile::create(*out, size, {base.get(), cow.get()}, invocation.has("force")));
  if (output->file().size() < report.size) {
    return Error(ErrorCode::kNoSpace, fmt::format("'{}' has {} bytes; the store needs {}", *out,
                                                  output->file().size(), report.size));
  }
  repair.target_zeroed = output->starts_zeroed();
  Progress progress;
  progress.set_size(report.kept * salvage.layout().chunk_bytes());
  {
    const ProgressReporter shown("repairing", invocation.progress_style(), progress);
    SNAP_ASSIGN(report,
                repair_store(salvage, repair, report, output->file(), invocation.job(progress)));
  }
  SNAP_TRY(output->commit());
  SNAP_TRY(print(invocation, salvage, report, out));
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
  command.description =
      "Writes a new, sound store with every exception of COW that can be kept, and lists what "
      "cannot. COW itself is only read. The new store shows what the kernel shows of the old one, "
      "but for the chunks that were dropped: these show the origin. With ORIGIN, exceptions "
      "beyond its end are dropped, too.\n\n"
      "A header that was wiped or overwritten is no hindrance: the chunk size is found from the "
      "areas. Behind an area that was overwritten, the list goes on where the kernel would have "
      "put the next.";
  command.options = {
      {0, "dry-run", OptionKind::kFlag, "", "only say what would be kept", ValueHint::kNone, {}},
      {0,
       "ignore-invalid",
       OptionKind::kFlag,
       "",
       "keep what a store has that was invalidated; the new one is valid",
       ValueHint::kNone,
       {}},
      {0,
       "beyond-end",
       OptionKind::kFlag,
       "",
       "also keep what looks like entries behind the end of the list",
       ValueHint::kNone,
       {}},
      {0,
       "chunk-size",
       OptionKind::kValue,
       "SIZE",
       "of COW, whatever its header says",
       ValueHint::kNone,
       {}},
      {0,
       "compact",
       OptionKind::kFlag,
       "",
       "put the data chunks side by side",
       ValueHint::kNone,
       {}},
      {0, "force", OptionKind::kFlag, "", "replace NEW if it exists", ValueHint::kNone, {}}};
  command.shared = "oUjpOg";
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
