// SPDX-License-Identifier: Apache-2.0
#include "cli/report/repair.h"

#include <fmt/format.h>

#include "cli/report/findings.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

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
        others = fmt::format("{} of the first areas fit", counted(guess.fitting, "entry")) + others;
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
    invocation.warn(
        fmt::format("past the end of the list, {} or more look like entries: left by a "
                    "merge or an older store, or a part of this one; --beyond-end keeps them",
                    salvage.left_beyond_end()));
  }
  if (salvage.taken_beyond() > 0) {
    invocation.warn(fmt::format(
        "{} of the entries lie past the end of the list, or after a destroyed area: they may "
        "belong to an older store",
        salvage.taken_beyond()));
  }
}

// ", dropped 2 exceptions and 1 area"
std::string dropped_text(const FindingLog& dropped) {
  uint64_t exceptions = 0;
  uint64_t areas = 0;
  for (size_t i = 0; i < dropped.counts.size(); ++i) {
    const auto code = static_cast<DefectCode>(i);
    const bool of_area = code == DefectCode::kDestroyedArea || code == DefectCode::kMissingArea;
    (of_area ? areas : exceptions) += dropped.counts[i];
  }
  std::string text;
  if (exceptions > 0) text = counted(exceptions, "exception");
  if (areas > 0) text += (text.empty() ? "" : " and ") + counted(areas, "area");
  return text.empty() ? text : ", dropped " + text;
}

}  // namespace

void warn_of_repair(const Invocation& invocation, const Salvage& salvage) {
  warn_of(invocation, salvage);
  warn_of_walk(invocation, salvage);
}

Result<void> report_repair(const Invocation& invocation, const ops::RepairJob& job,
                           const std::optional<std::string>& out) {
  const Salvage& salvage = job.salvage();
  const RepairReport& report = job.report();
  const uint64_t chunk_bytes = salvage.layout().chunk_bytes();
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"cow", salvage.cow().name()},
                 {"out", out ? Json(*out) : Json()},
                 {"chunk_size_sectors", salvage.layout().chunk_sectors()},
                 {"kept", report.kept},
                 {"separated", report.separated},
                 {"beyond_end", salvage.taken_beyond()},
                 {"minimum_size", report.size}};
    add_findings(json, report.dropped);
    return invocation.report(json.text());
  }
  std::string text = findings_text(report.dropped, invocation.has("verbose"), false);
  text += text_line("{}: {} {} ({}){}{}", salvage.cow().name(), out ? "kept" : "would keep",
                    counted(report.kept, "exception"), format_size(report.kept * chunk_bytes),
                    dropped_text(report.dropped),
                    out ? fmt::format("; the sound store is '{}'", *out) : "");
  if (report.separated > 0) {
    text += text_line("{} had the data chunk of another, and {} of its own",
                      counted(report.separated, "exception"), "got a copy");
  }
  return invocation.report(text);
}

}  // namespace snaptool::cli
