// SPDX-License-Identifier: Apache-2.0
#include "cli/report/image_sums.h"

#include "cli/support/exit_status.h"
#include "cli/support/invocation.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

Json sums_json(const ops::VerifiedImage& image, const std::string& name) {
  const access::SumsFound& found = image.found;
  Json json = {{"format_version", 1},
               {"filename", name},
               {"format", image.format},
               {"result", found.problems.empty() ? "sound" : "corrupt"}};
  json["has_sums"] = found.has_sums;
  json["problems"] = found.problems;
  json["notes"] = found.notes;
  json["damaged_bytes"] = found.damaged_bytes;
  json["damaged"] = Json::array();
  for (const ByteRange& range : found.damaged) {
    json["damaged"].push_back({{"offset", range.offset}, {"length", range.length}});
  }
  return json;
}

}  // namespace

Result<int> report_image(Invocation& invocation, const ops::VerifiedImage& image,
                         const std::string& name) {
  const access::SumsFound& found = image.found;
  const bool sound = found.problems.empty();
  if (invocation.json()) {
    SNAP_TRY(invocation.report(sums_json(image, name).text()));
    return sound ? kExitDone : kExitCorrupt;
  }
  std::string text;
  for (const std::string& problem : found.problems) text += text_line("{}", problem);
  for (const ByteRange& range : found.damaged) {
    text += text_line("damaged: {} of the image, from its byte {} on",
                      counted(range.length, "byte"), range.offset);
  }
  for (const std::string& note : found.notes) text += text_line("{}", note);
  text += text_line("{}: {} ({}: {})", name, sound ? "sound" : "corrupt", image.format,
                    found.has_sums ? "checksums compared" : "it has no checksums of its content");
  SNAP_TRY(invocation.report(text));
  return sound ? kExitDone : kExitCorrupt;
}

}  // namespace snaptool::cli
