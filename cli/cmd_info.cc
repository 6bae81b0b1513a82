// SPDX-License-Identifier: Apache-2.0
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/command_table.h"
#include "cli/disk_tree.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/output_options.h"
#include "cli/stdio.h"
#include "formats/known_format.h"
#include "formats/rbd/rbd_diff.h"
#include "libsnap/diff/snapdiff.h"
#include "libsnap/io/image_file.h"

namespace snaptool::cli {
namespace {

// What a diff says of itself; of a snapdiff, header and end are read, of rbd's all.
Result<std::string> describe_changes(access::ChangeFile& changes, Json& json) {
  SNAP_ASSIGN(const auto reader, changes.reader());
  const ChangeHeader& header = reader->header();
  const bool snapdiff = changes.driver().has_sums;
  ChangeEnd end;
  if (snapdiff) {
    SNAP_ASSIGN(end, changes.driver().read_end(changes.file()));
  } else {
    ChangeRecord record;
    while (true) {
      SNAP_ASSIGN(const bool any, reader->next(record));
      if (!any) break;
    }
    end = reader->end();
  }
  const auto id_or = [](const std::optional<Sha256::Digest>& id, const char* none) {
    return id ? id_text(*id) : std::string(none);
  };
  std::string text;
  const auto line = [&](std::string_view what, const std::string& value) {
    text += fmt::format("{:<16}{}\n", what, printable(value));
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
    line("base size:",
         fmt::format("{} ({} bytes)", format_size(*header.base_size), *header.base_size));
  }
  line("target size:",
       fmt::format("{} ({} bytes)", format_size(header.target_size), header.target_size));
  const ChangeTotals& totals = end.totals;
  json["records"] = totals.records;
  json["data_bytes"] = totals.data_bytes;
  json["zero_bytes"] = totals.zero_bytes;
  json["discard_bytes"] = totals.discard_bytes;
  line("changes:",
       fmt::format("{} in {} records: {} data, {} zeros, {} discarded", format_size(totals.bytes()),
                   totals.records, format_size(totals.data_bytes), format_size(totals.zero_bytes),
                   format_size(totals.discard_bytes)));
  if (totals.data_bytes > 0) {
    line("ratio:",
         fmt::format("{:.3f} (bytes of the diff for each byte of data)",
                     static_cast<double>(end.length) / static_cast<double>(totals.data_bytes)));
  }
  if (snapdiff) {
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
                                           : "nothing: it was not exported of whole images, nor "
                                             "with --parent");
    if (end.base_sum) json["base_sha256"] = id_text(*end.base_sum);
    if (end.target_sum) {
      json["target_sha256"] = id_text(*end.target_sum);
      line("image SHA-256:", id_text(*end.target_sum));
    }
    line("made by:", header.maker);
  } else {
    json["from_snap"] = header.from_name;
    json["to_snap"] = header.to_name;
    if (!header.full) line("from snapshot:", header.from_name);
    if (!header.to_name.empty()) line("to snapshot:", header.to_name);
  }
  return text;
}

std::string size_text(std::string_view what, uint64_t size) {
  return fmt::format("{:<16}{} ({} bytes)\n", what, format_size(size), size);
}

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
    text += fmt::format("{:<16}{} '{}', {}{}{}\n", "snapshot:", printable(one.id),
                        printable(one.name), format_size(one.size), date.empty() ? "" : ", ", date);
  }
  json["bitmaps"] = Json::array();
  for (const access::ImageFacts::Bitmap& one : facts.bitmaps) {
    json["bitmaps"].push_back({{"name", one.name},
                               {"granularity", one.granularity},
                               {"in_use", one.in_use},
                               {"auto", one.automatic}});
    text += fmt::format("{:<16}'{}', a bit for {}{}\n", "bitmap:", printable(one.name),
                        format_size(one.granularity), one.in_use ? ", was not saved" : "");
  }
}

// An image of a format of the table: what it says of itself, without its parent.
std::string describe_format(const access::ImageDriver& driver, const access::ImageFacts& facts,
                            Json& json) {
  json["format"] = driver.name;
  json["virtual_size"] = facts.size;
  std::string text = fmt::format("{:<16}{}\n", "format:", driver.name);
  text += size_text("virtual size:", facts.size);
  if (facts.parent) {
    json["backing_filename"] = facts.parent->name;
    text += fmt::format("{:<16}{}\n", "parent:", printable(facts.parent->name));
    if (facts.parent->format) {
      json["backing_format"] = *facts.parent->format;
      text += fmt::format("{:<16}{}\n", "parent format:", printable(*facts.parent->format));
    }
  }
  for (const auto& [name, value] : facts.details) {
    std::visit(
        [&, &key = name](const auto& one) {
          json[key] = one;
          std::string label = key;
          std::replace(label.begin(), label.end(), '_', ' ');
          text += fmt::format("{:<15} {}\n", label + ":", one);
        },
        value);
  }
  for (const auto& [key, value] : facts.metadata) {
    json["metadata"][key] = value;
    text += fmt::format("{:<15} '{}': {}\n", "metadata:", printable(key), printable(value));
  }
  describe_snapshots(facts, json, text);
  for (const std::string& warning : facts.warnings) {
    text += fmt::format("{:<16}{}\n", "problem:", printable(warning));
  }
  return text;
}

// The format of a file by its magic, or as the user says.
Result<const access::ImageDriver*> format_of(const access::Drivers& drivers, File& file,
                                             const std::optional<std::string>& format) {
  if (!format) return drivers.detect_image(file);
  const access::ImageDriver* const driver = drivers.find_image(*format);
  return driver != nullptr ? driver : &drivers.raw();
}

Result<std::string> describe_raw(const Invocation& invocation, const access::ImageSpec& spec,
                                 const std::vector<std::shared_ptr<File>>& files, Json& json) {
  File& file = *files.front();
  const auto& format = spec.base.format;
  SNAP_ASSIGN(const bool magic, access::looks_like_store(file));
  const bool is_store = format ? *format == "dm-snapshot" : magic;
  const std::string plain = format == "split" ? "split" : "raw";
  json["format"] = is_store ? "dm-snapshot" : plain;
  json["file_size"] = file.size();
  std::string text = fmt::format(
      "{:<16}{}\n",
      "format:", is_store ? "dm-snapshot (a copy-on-write store; the image is ORIGIN@it)" : plain);
  text += size_text("file size:", file.size());
  if (is_store) {
    SNAP_ASSIGN(Json store, describe_store(file, invocation.cancel()));
    text += store_text(store, spec.base.name());
    json["store"] = std::move(store);
    return text;
  }
  json["virtual_size"] = file.size();
  SNAP_ASSIGN(const DiskTree tree, describe_disk(invocation, files, json));
  return text + tree.text;
}

// A format that is known, and not read.
std::string describe_known(const access::KnownFormat& known, const File& file,
                           const std::string& path, Json& json) {
  json["format"] = known.name;
  json["is_read"] = false;
  json["file_size"] = file.size();
  return fmt::format("{:<16}{}, which snaptool does not read\n", "format:", known.label) +
         fmt::format("{:<16}{}\n", "instead:", printable(access::remedy_for(known, path))) +
         fmt::format("{:<16}-f raw takes its bytes as they are\n", "") +
         size_text("file size:", file.size());
}

// A file, or a part of one, whatever it is.
Result<std::string> describe_file(const Invocation& invocation, const access::ImageSpec& spec,
                                  Json& json) {
  access::Opener opener(invocation.access());
  const OpenOptions options{Access::kRead, invocation.force_share()};
  std::string text;
  if (spec.base.is_whole_file() && spec.base.format != "split") {
    SNAP_ASSIGN(const auto file, opener.open_path(spec.base.path(), options));
    SNAP_ASSIGN(const auto* const diff, invocation.access().drivers.detect_changes(*file));
    if (diff != nullptr && !spec.base.format) {
      SNAP_ASSIGN(const auto changes, access::ChangeFile::open(opener, spec.base.path()));
      json["file_size"] = file->size();
      SNAP_ASSIGN(const std::string about, describe_changes(*changes, json));
      return about + size_text("file size:", file->size());
    }
    SNAP_ASSIGN(const access::ImageDriver* const driver,
                format_of(invocation.access().drivers, *file, spec.base.format));
    if (driver->kind == access::ImageKind::kImage) {
      SNAP_ASSIGN(const access::ImageFacts facts, driver->facts(*file, invocation.cancel()));
      text = describe_format(*driver, facts, json) + size_text("file size:", file->size());
      json["file_size"] = file->size();
      const bool may_open =
          !facts.parent || invocation.has("follow-parents") || invocation.has("parent");
      if (!may_open || facts.corrupt) return text;
      SNAP_ASSIGN(const auto content, opener.open(spec.base, options));
      SNAP_ASSIGN(const DiskTree tree, describe_disk(invocation, {content}, json));
      return text + tree.text;
    }
    SNAP_ASSIGN(const access::KnownFormat* const known,
                invocation.access().drivers.detect_known(*file));
    if (known != nullptr && !spec.base.format) {
      return describe_known(*known, *file, spec.base.path(), json);
    }
  }
  SNAP_ASSIGN(const auto files, opener.open_all(spec.base, options));
  return describe_raw(invocation, spec, files, json);
}

Result<std::string> describe_view(const Invocation& invocation, const access::ImageSpec& spec,
                                  Json& json) {
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(access::OpenImage open, access::open_image(opener, spec));
  json["format"] = "dm-snapshot";
  json["virtual_size"] = open.image().size();
  json["origin"] = spec.base.name();
  std::string text = fmt::format("{:<16}view of a dm-snapshot\n", "format:") +
                     size_text("virtual size:", open.image().size()) +
                     fmt::format("{:<16}{}\n", "origin:", spec.base.name());
  json["layers"] = Json::array();
  for (size_t i = 1; i < open.files.size(); ++i) {
    const std::string name = spec.stores[i - 1].name();
    SNAP_ASSIGN(Json store, describe_store(*open.files[i], invocation.cancel()));
    text += fmt::format("{:<16}{}\n", "store:", name) + store_text(store, name);
    store["filename"] = name;
    json["layers"].push_back(std::move(store));
  }
  const auto view = std::make_shared<ImageFile>(open.image(), true);
  SNAP_ASSIGN(const DiskTree tree, describe_disk(invocation, {view}, json));
  return text + tree.text;
}

Result<int> run(Invocation& invocation) {
  const std::string& operand = invocation.operands().front();
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  Json json = {{"format_version", 1}, {"filename", operand}};
  const bool is_file = spec.stores.empty() && spec.view_parts.empty();
  SNAP_ASSIGN(const std::string about, is_file ? describe_file(invocation, spec, json)
                                               : describe_view(invocation, spec, json));
  const std::string text = fmt::format("{:<16}{}\n", "image:", printable(operand)) + about;
  SNAP_TRY(invocation.report(invocation.json() ? json.text() : text));
  return kExitDone;
}

}  // namespace

CommandSpec info_command() {
  CommandSpec command;
  command.name = "info";
  command.operands = "IMAGE";
  command.min_operands = command.max_operands = 1;
  command.summary =
      "tell what a file is: its format, size and, of a store, its fill, of a diff, what it is for";
  // clang-format off
  command.description =
      "Tells what IMAGE is. For a dm-snapshot store: chunk size, number of exceptions, fill, and whether it is valid. Reads the metadata only.";
  command.options = {
    flag("ignore-invalid", "look into a store that is marked invalid, too"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kFollowParents, Shared::kParent,
                    Shared::kForceShare, Shared::kJson,          Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
