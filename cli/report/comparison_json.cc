// SPDX-License-Identifier: Apache-2.0
#include "cli/report/comparison.h"
#include "cli/report/file_changes.h"

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
  Json json = {{"filename", image.name}, {"virtual_size", image.size}};
  for (const auto& [algorithm, sum] : image.sums) json[algorithm] = sum;
  if (image.files.empty()) return json;
  json["files"] = Json::array();
  for (const ReportImage::NamedFile& file : image.files) {
    json["files"].push_back(
        {{"filename", file.path}, {"file_size", file.size}, {"modified", file.modified}});
  }
  return json;
}

void add_origin(Json& json, const ReportOrigin& origin) {
  const auto add = [&](std::string_view key, const std::string& text) {
    if (!text.empty()) json[key] = text;
  };
  add("host", origin.host);
  add("program_sha256", origin.program_sum);
  add("case_number", origin.case_number);
  add("examiner", origin.examiner);
  if (!origin.notes.empty()) json["notes"] = origin.notes;
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
                 {"program", std::string(kProgram)}};
    add_origin(json, head.origin);
    json["image1"] = image_json(head.before);
    json["image2"] = image_json(head.after);
    json["granularity"] = head.granularity;
    json["strict"] = head.strict;
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
    return item("ranges", json.line());
  }

  Result<void> begin_volume(const ops::VolumePair& volume) override {
    volume_ = volume;
    inner_ = {};
    std::string text = volume_json(volume).line();
    text.pop_back();  // the object goes on
    return item("file_systems", text);
  }

  Result<void> add_change(const ops::FileChange& change) override {
    return inner_item("changes", change_json(change, volume_.after->local_times).line());
  }
  Result<void> add_piece(const ops::FilePiece& piece) override {
    return inner_item("ranges", piece_json(piece, volume_).line());
  }

  Result<void> end_volume(const ops::FileDiffSummary& summary) override {
    if (!volume_.compared()) return out_.write("}");
    if (inner_.name.empty()) SNAP_TRY(open_inner("changes"));
    if (volume_.has_ranges && inner_.name != "ranges") SNAP_TRY(open_inner("ranges"));
    Json counts = Json::object();
    for (size_t kind = 0; kind < ops::kFileChangeKinds; ++kind) {
      const auto one = static_cast<ops::FileChangeKind>(kind);
      counts[ops::name_of(one)] = summary.count(one);
    }
    Json json = {{"counts", counts},
                 {"problem_count", summary.problem_count},
                 {"problems", summary.problems}};
    const std::string text = json.line();
    return out_.write(std::string(inner_.any ? "\n  " : "") + "],\n  " + text.substr(1));
  }

  Result<void> add_outside(const ByteRange& range) override {
    return item("outside", Json{{"offset", range.offset}, {"length", range.length}}.line());
  }

  Result<void> finish(const ReportTail& tail) override {
    const CompareSummary& summary = tail.summary;
    Json json = {{"equal", tail.equal},
                 {"range_count", summary.ranges},
                 {"range_bytes", summary.range_bytes},
                 {"changed_bytes", summary.changed_bytes},
                 {"compared_bytes", summary.compared_bytes},
                 {"same_storage_bytes", summary.same_storage_bytes},
                 {"hole_bytes", summary.hole_bytes},
                 {"sizes_differ", summary.sizes_differ}};
    if (tail.chunk_size) json["chunk_size_sectors"] = *tail.chunk_size / kSectorSize;
    if (tail.files) {
      if (list_.name == "ranges") SNAP_TRY(open("file_systems"));
      if (list_.name == "file_systems") SNAP_TRY(open("outside"));
      json["changed_files"] = tail.files->files;
      json["files_equal"] = tail.equal;
      json["problem_count"] = tail.files->problems;
    }
    return out_.write(std::string(list_.any ? "\n" : "") + "],\n\"summary\": " + json.line() +
                      "}\n");
  }

 private:
  // A list that is being written.
  struct List {
    std::string_view name;
    bool any = false;
  };

  Result<void> open(std::string_view name) {
    const std::string_view end = list_.any ? "\n],\n" : "],\n";
    list_ = {name};
    return out_.write(fmt::format("{}\"{}\": [", end, name));
  }
  Result<void> item(std::string_view name, const std::string& text) {
    if (list_.name != name) SNAP_TRY(open(name));
    const std::string separator = list_.any ? ",\n " : "\n ";
    list_.any = true;
    return out_.write(separator + text);
  }
  // Within a file system.
  Result<void> open_inner(std::string_view name) {
    const std::string_view end = inner_.any ? "\n  ]" : inner_.name.empty() ? "" : "]";
    inner_ = {name};
    return out_.write(fmt::format("{},\n  \"{}\": [", end, name));
  }
  Result<void> inner_item(std::string_view name, const std::string& text) {
    if (inner_.name.empty() && name == "ranges") SNAP_TRY(open_inner("changes"));
    if (inner_.name != name) SNAP_TRY(open_inner(name));
    const std::string separator = inner_.any ? ",\n   " : "\n   ";
    inner_.any = true;
    return out_.write(separator + text);
  }

  TextOutput& out_;
  List list_{"ranges"};
  List inner_;
  ops::VolumePair volume_;
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
