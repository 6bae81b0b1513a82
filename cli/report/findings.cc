// SPDX-License-Identifier: Apache-2.0
#include "cli/report/findings.h"

#include <fmt/format.h>

#include <set>

#include "cli/report/mending.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

// What is true of a defect.
struct Explanation {
  std::string_view meaning;
  std::string_view kernel;
  std::string_view mending;
};

Explanation explain(const Finding& finding) {
  const DefectCode code = finding.code;
  if (!finding.is_disk) return {meaning_of(code), kernel_view_of(code), mending_of(code)};
  const bool is_overwritten = code == DefectCode::kWipedHeader;
  return {"there is no store in it", kernel_view_of(is_overwritten ? DefectCode::kNoStore : code),
          mending_of(DefectCode::kTooSmall)};
}

// A number from an entry that is known to be corrupt is a hex string.
Json chunk_number(std::optional<uint64_t> chunk, bool corrupt) {
  if (!chunk) return nullptr;
  if (corrupt) return fmt::format("{:#x}", *chunk);
  return *chunk;
}

Json to_json(const Finding& finding) {
  const Severity severity = severity_of(finding.code);
  const bool corrupt = severity == Severity::kCorrupt;
  const auto or_null = [](std::optional<uint64_t> value) {
    return value ? Json(*value) : Json(nullptr);
  };
  const Explanation explained = explain(finding);
  return {{"severity", severity_name(severity)},
          {"code", defect_code_name(finding.code)},
          {"area", or_null(finding.area)},
          {"index", or_null(finding.index)},
          {"old_chunk", chunk_number(finding.old_chunk, corrupt)},
          {"new_chunk", chunk_number(finding.new_chunk, corrupt)},
          {"offset", or_null(finding.offset)},
          {"message", finding.message},
          {"meaning", explained.meaning},
          {"kernel", explained.kernel},
          {"mended_by", explained.mending}};
}

std::string place_of(const Finding& finding) {
  std::string where;
  if (finding.area) where += fmt::format(" area {}", *finding.area);
  if (finding.index) where += fmt::format(" entry {}", *finding.index);
  if (finding.offset) where += fmt::format(" (byte {})", *finding.offset);
  return where;
}

std::string to_text(const Finding& finding) {
  const std::string where = place_of(finding);
  return text_line("{}: {}:{}{} {}", severity_name(severity_of(finding.code)),
                   defect_code_name(finding.code), where, where.empty() ? "" : ":",
                   finding.message);
}

// All of one code: a few (or all that are kept), how many more there are and up to where, and what
// is true of each.
std::string to_text(const FindingLog& log, DefectCode code, size_t most, bool advises) {
  std::string text;
  uint64_t shown = 0;
  Explanation explained;
  for (const Finding& finding : log.findings) {
    if (finding.code != code || shown >= most) continue;
    explained = explain(finding);
    text += to_text(finding);
    ++shown;
  }
  if (const uint64_t more = log.count(code) - shown; more > 0) {
    text += text_line("{}: {}: {} more, up to{}", severity_name(severity_of(code)),
                      defect_code_name(code), more, place_of(log.last.at(code)));
  }
  return text + text_line("  it means: {}", explained.meaning) +
         text_line("  the kernel {}", explained.kernel) +
         (advises ? text_line("  fixed by: {}", explained.mending) : "");
}

}  // namespace

void add_findings(Json& json, const FindingLog& log) {
  json["findings"] = Json::array();
  for (const Finding& finding : log.findings) json["findings"].push_back(to_json(finding));
  json["counts"] = Json::object();
  for (size_t i = 0; i < log.counts.size(); ++i) {
    if (log.counts[i] == 0) continue;
    json["counts"][std::string(defect_code_name(static_cast<DefectCode>(i)))] = log.counts[i];
  }
}

std::string findings_text(const FindingLog& log, bool all, bool advises) {
  constexpr size_t kFew = 3;
  std::string text;
  std::set<DefectCode> told;
  uint64_t notes = 0;
  for (const Finding& finding : log.findings) {
    if (!told.insert(finding.code).second) continue;
    if (!all && severity_of(finding.code) == Severity::kNote) {
      notes += log.count(finding.code);
    } else {
      text += to_text(log, finding.code, all ? FindingLog::kKept : kFew, advises);
    }
  }
  if (notes > 0)
    text += text_line("{}: -v shows {}", counted(notes, "note"), notes == 1 ? "it" : "them");
  return text;
}

}  // namespace snaptool::cli
