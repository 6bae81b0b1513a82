// SPDX-License-Identifier: Apache-2.0
#include "cli/report/comparison.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <ctime>

#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "cli/support/version.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {
namespace {

Json image_json(const ReportImage& image) {
  Json json = {{"filename", image.name}, {"size", image.size}};
  if (!image.sha256.empty()) json["sha256"] = image.sha256;
  return json;
}

Json side_json(const ReportRange::Side& side) {
  Json json = Json::object();
  if (side.there) {
    json["sha256"] = side.sha256;
    json["entropy"] = side.entropy;
  }
  if (!side.hex.empty()) json["hex"] = side.hex;
  if (side.file_offset) {
    json["filename"] = side.filename;
    json["file_offset"] = *side.file_offset;
  }
  return json;
}

class JsonReport : public ReportWriter {
 public:
  explicit JsonReport(TextOutput& out) : out_(out) {}

  Result<void> begin(const ReportHead& head) override {
    Json json = {{"format_version", 1},
                 {"command_line", head.command_line},
                 {"created", head.created},
                 {"version", std::string(kVersion)},
                 {"image1", image_json(head.before)},
                 {"image2", image_json(head.after)},
                 {"granularity", head.granularity},
                 {"strict", head.strict}};
    std::string text = json.line();
    text.pop_back();  // the object goes on
    return out_.write(text + ",\n\"ranges\": [");
  }

  Result<void> add(const ReportRange& range) override {
    Json json = {{"offset", range.difference.offset},
                 {"length", range.difference.length},
                 {"changed_bytes", range.difference.changed_bytes}};
    if (range.before.there || !range.before.hex.empty()) json["before"] = side_json(range.before);
    if (range.after.there || !range.after.hex.empty()) json["after"] = side_json(range.after);
    if (!range.before.hex.empty() || !range.after.hex.empty())
      json["hex_offset"] = range.hex_offset;
    const std::string separator = any_ ? ",\n " : "\n ";
    any_ = true;
    return out_.write(separator + json.line());
  }

  Result<void> finish(const ReportTail& tail) override {
    const CompareSummary& summary = tail.summary;
    Json json = {{"equal", tail.equal},
                 {"ranges", summary.ranges},
                 {"range_bytes", summary.range_bytes},
                 {"changed_bytes", summary.changed_bytes},
                 {"compared_bytes", summary.compared_bytes},
                 {"same_storage_bytes", summary.same_storage_bytes},
                 {"hole_bytes", summary.hole_bytes},
                 {"sizes_differ", summary.sizes_differ}};
    if (tail.chunk_size) json["chunk_size"] = *tail.chunk_size;
    return out_.write(std::string(any_ ? "\n" : "") + "],\n\"summary\": " + json.line() + "}\n");
  }

 private:
  TextOutput& out_;
  bool any_ = false;
};

}  // namespace

std::unique_ptr<ReportWriter> make_json_report(TextOutput& out) {
  return std::make_unique<JsonReport>(out);
}

std::string escape_markup(std::string_view text) {
  std::string escaped;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

constexpr std::time_t kLastTime = 253402300799;  // 9999-12-31, 23:59:59

Result<std::string> report_time(const std::optional<std::string>& date) {
  std::time_t time = std::time(nullptr);
  // For reproducible outputs, as https://reproducible-builds.org has it.
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");  // NOLINT: nobody sets variables
  if (date) {
    std::tm parts{};
    const bool seconds = date->rfind('@', 0) == 0;
    const char* const end =
        ::strptime(date->c_str(), seconds ? "@%s" : "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (end == nullptr || *end != 0) {
      return Error(
          ErrorCode::kInvalidArgument,
          fmt::format("--date {}: 2026-11-26T09:30:00Z is wanted, or @SECONDS since 1970", *date));
    }
    time = seconds ? std::mktime(&parts) : ::timegm(&parts);
  } else if (epoch != nullptr && *epoch != '\0') {
    const std::string_view text(epoch);
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), time);
    if (ec != std::errc() || end != text.data() + text.size()) time = -1;
  }
  if (time < 0 || time > kLastTime) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{}: the time of a report is one from 1970 to 9999",
                             date ? "--date" : "SOURCE_DATE_EPOCH"));
  }
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time));
}

}  // namespace snaptool::cli
