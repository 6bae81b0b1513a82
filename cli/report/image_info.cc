// SPDX-License-Identifier: Apache-2.0
#include "cli/report/image_info.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "cli/support/output_options.h"
#include "cli/support/remedy.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"

namespace snaptool::cli {
namespace {

void describe_snapshots(const access::ImageFacts& facts, Json& json, std::string& text) {
  json["snapshots"] = Json::array();
  for (const access::ImageFacts::Snapshot& one : facts.snapshots) {
    Json snapshot = {{"id", one.id}, {"name", one.name}, {"virtual_size", one.size}};
    std::string date;
    if (one.seconds) {
      date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time_t{*one.seconds}));
      snapshot["date"] = date;
    }
    json["snapshots"].push_back(std::move(snapshot));
    text += text_line("{:<16}{} '{}', {}{}{}", "snapshot:", one.id, one.name, format_size(one.size),
                      date.empty() ? "" : ", ", date);
  }
  json["bitmaps"] = Json::array();
  for (const access::ImageFacts::Bitmap& one : facts.bitmaps) {
    json["bitmaps"].push_back({{"name", one.name},
                               {"granularity", one.granularity},
                               {"in_use", one.in_use},
                               {"auto", one.automatic}});
    text += text_line("{:<16}'{}', a bit for {}{}", "bitmap:", one.name,
                      format_size(one.granularity), one.in_use ? ", was not saved" : "");
  }
}

// A stream without sums at its end is read to there.
Result<ChangeEnd> end_of(access::ChangeFile& changes, ChangeReader& reader) {
  if (changes.driver().has_sums) return changes.driver().read_end(changes.file());
  ChangeRecord record;
  while (true) {
    SNAP_ASSIGN(const bool any, reader.next(record));
    if (!any) return reader.end();
  }
}

// What ties a diff to its base, and to the diffs before and after it.
void add_links(const ChangeHeader& header, const ChangeEnd& end, Json& json,
               const std::function<void(std::string_view, const std::string&)>& line) {
  const auto id_or = [](const std::optional<Sha256::Digest>& id, const char* none) {
    return id ? id_text(*id) : std::string(none);
  };
  json["parent_id"] = header.parent_id ? Json(id_text(*header.parent_id)) : Json();
  json["child_id"] = id_or(end.child_id, "");
  json["expectations"] = header.expectations.size();
  if (!header.full) line("parent:", id_or(header.parent_id, "not known"));
  line("state:", id_or(end.child_id, ""));
  if (end.base_content) json["base_content_id"] = id_text(*end.base_content);
  if (end.target_content) json["target_content_id"] = id_text(*end.target_content);
  line("links by:", end.target_sum       ? "SHA-256 of the whole images"
                    : end.target_content ? "the content of the whole images"
                    : header.parent_id   ? "its parent's id"
                                         : "nothing: it was not exported from whole images, nor "
                                           "with --parent");
  if (end.base_sum) json["base_sha256"] = id_text(*end.base_sum);
  if (end.target_sum) {
    json["target_sha256"] = id_text(*end.target_sum);
    line("image SHA-256:", id_text(*end.target_sum));
  }
  line("made by:", header.maker);
}

}  // namespace

// What a diff says of itself; of a snapdiff, header and end are read, of rbd's all.
Result<std::string> describe_changes(access::ChangeFile& changes, Json& json) {
  SNAP_ASSIGN(const auto reader, changes.reader());
  const ChangeHeader& header = reader->header();
  SNAP_ASSIGN(const ChangeEnd end, end_of(changes, *reader));
  std::string text;
  const auto line = [&](std::string_view what, const std::string& value) {
    text += text_line("{:<16}{}", what, value);
  };
  json["format"] = changes.driver().name;
  json["full"] = header.full;
  json["target_size"] = header.target_size;
  line("format:", fmt::format("{} ({})", changes.driver().name,
                              header.full      ? "full: it has all of an image"
                              : header.reverse ? "an increment, from a snapshot back to its origin"
                                               : "an increment"));
  if (!header.full && header.base_size) {
    json["base_size"] = *header.base_size;
    line("base size:", fmt::format("{} ({})", format_size(*header.base_size),
                                   counted(*header.base_size, "byte")));
  }
  line("target size:", fmt::format("{} ({})", format_size(header.target_size),
                                   counted(header.target_size, "byte")));
  const ChangeTotals& totals = end.totals;
  json["records"] = totals.records;
  json["data_bytes"] = totals.data_bytes;
  json["zero_bytes"] = totals.zero_bytes;
  json["discard_bytes"] = totals.discard_bytes;
  line("changes:",
       fmt::format("{} in {}: {} data, {} zeros, {} discarded", format_size(totals.bytes()),
                   counted(totals.records, "record"), format_size(totals.data_bytes),
                   format_size(totals.zero_bytes), format_size(totals.discard_bytes)));
  if (totals.data_bytes > 0) {
    line("ratio:",
         fmt::format("{:.3f} (bytes of the diff for each byte of data)",
                     static_cast<double>(end.length) / static_cast<double>(totals.data_bytes)));
  }
  if (changes.driver().has_sums) {
    add_links(header, end, json, line);
  } else {
    json["from_snap"] = header.from_name;
    json["to_snap"] = header.to_name;
    if (!header.full) line("from snapshot:", header.from_name);
    if (!header.to_name.empty()) line("to snapshot:", header.to_name);
  }
  return text;
}

std::string size_text(std::string_view what, uint64_t size) {
  return text_line("{:<16}{} ({})", what, format_size(size), counted(size, "byte"));
}

// An image of a format of the table: what it says of itself, without its parent.
std::string describe_image(const access::ImageDriver& driver, const access::ImageFacts& facts,
                           Json& json) {
  json["format"] = driver.name;
  json["virtual_size"] = facts.size;
  std::string text = text_line("{:<16}{}", "format:", driver.name);
  text += size_text("virtual size:", facts.size);
  if (facts.parent) {
    if (!facts.parent->name.empty()) {
      json["backing_filename"] = facts.parent->name;
      text += text_line("{:<16}{}", "parent:", facts.parent->name);
    }
    for (const std::string& name : facts.parent->other_names) {
      text += text_line("{:<16}{}", "or:", name);
    }
    if (!facts.parent->other_names.empty()) {
      json["backing_other_filenames"] = facts.parent->other_names;
    }
    if (!facts.parent->identities.empty()) {
      json["backing_identity"] = facts.parent->identities.front();
      text += text_line("{:<16}{}", "parent is:", facts.parent->identities.front());
    }
    if (facts.parent->format) {
      json["backing_format"] = *facts.parent->format;
      text += text_line("{:<16}{}", "parent format:", *facts.parent->format);
    }
  }
  for (const auto& [name, value] : facts.details) {
    std::visit(
        [&, &key = name](const auto& one) {
          json[key] = one;
          std::string label = key;
          std::replace(label.begin(), label.end(), '_', ' ');
          text += text_line("{:<15} {}", label + ":", one);
        },
        value);
  }
  for (const auto& [key, value] : facts.metadata) {
    json["metadata"][key] = value;
    text += text_line("{:<15} '{}': {}", "metadata:", key, value);
  }
  describe_snapshots(facts, json, text);
  json["warnings"] = facts.warnings;
  for (const std::string& warning : facts.warnings) {
    text += text_line("{:<16}{}", "problem:", warning);
  }
  return text;
}

// A format that is known, and not read.
std::string describe_known(const access::KnownFormat& known, const File& file,
                           const std::string& path, Json& json) {
  json["format"] = known.name;
  json["is_read"] = false;
  json["file_size"] = file.size();
  std::string instead = access::remedy_for(known, path);
  instead = instead.empty()
                ? std::string(remedy_words(known.own, "info"))
                : fmt::format("{}; {}", instead, remedy_words(Remedy::kTakeAsRaw, "info"));
  // One of its own that goes with a command is no image, but it is read.
  const bool is_own = access::remedy_for(known, path).empty();
  return text_line("{:<16}{}{}", "format:", known.label,
                   is_own ? "" : ", which snaptool does not read") +
         text_line("{:<16}{}", is_own ? "use:" : "instead:", instead) +
         size_text("file size:", file.size());
}

}  // namespace snaptool::cli
