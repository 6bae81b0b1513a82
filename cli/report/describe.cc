// SPDX-License-Identifier: Apache-2.0
#include "cli/report/describe.h"

#include "cli/report/disk_tree.h"
#include "cli/report/image_info.h"
#include "cli/support/stdio.h"
#include "libsnap/access/change_file.h"
#include "libsnap/access/open_image.h"
#include "libsnap/io/content_file.h"

namespace snaptool::cli {
namespace {

// The format of a file by its magic, or as the user says.
Result<const access::ImageDriver*> format_of(const access::Drivers& drivers, File& file,
                                             const std::optional<std::string>& format) {
  if (!format) return drivers.detect_image(file);
  const access::ImageDriver* const driver = drivers.find_image(*format);
  return driver != nullptr ? driver : &drivers.raw();
}

// What is in it: partitions and volumes.
Result<std::string> describe_content(const Invocation& invocation,
                                     const std::vector<std::shared_ptr<File>>& files, Json& json) {
  SNAP_ASSIGN(const access::DiskFacts facts,
              access::disk_facts(invocation.access(), files, access::LookFor::kFileSystems));
  add_disk(json, facts);
  return disk_text(facts);
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
  std::string text = text_line(
      "{:<16}{}",
      "format:", is_store ? "dm-snapshot (a copy-on-write store; the image is ORIGIN@it)" : plain);
  text += size_text("file size:", file.size());
  if (is_store) {
    SNAP_ASSIGN(const auto store, access::store_facts(file, invocation.cancel()));
    json["store"] = store_json(store);
    return text + store_text(store, spec.base.name());
  }
  json["virtual_size"] = file.size();
  SNAP_ASSIGN(const std::string within, describe_content(invocation, files, json));
  return text + within;
}

// A file of a format of the table, and what is in its image.
Result<std::string> describe_whole(const Invocation& invocation, access::Opener& opener,
                                   const access::ImageSpec& spec, const std::shared_ptr<File>& file,
                                   const access::ImageDriver& driver, Json& json) {
  SNAP_ASSIGN(const auto facts, opener.whole_facts(spec.base.path(), file, driver));
  const std::string text =
      describe_image(driver, facts, json) + size_text("file size:", file->size());
  json["file_size"] = file->size();
  const bool may_open =
      !facts.parent || invocation.has("follow-parents") || invocation.has("parent");
  if (!may_open || facts.corrupt) return text;
  SNAP_ASSIGN(const auto content,
              opener.open(spec.base, {Access::kRead, invocation.force_share()}));
  SNAP_ASSIGN(const std::string within, describe_content(invocation, {content}, json));
  return text + within;
}

}  // namespace

Result<std::string> describe_file(const Invocation& invocation, const access::ImageSpec& spec,
                                  Json& json) {
  access::Opener opener(invocation.access());
  const OpenOptions options{Access::kRead, invocation.force_share()};
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
      return describe_whole(invocation, opener, spec, file, *driver, json);
    }
    SNAP_ASSIGN(const access::KnownFormat* const known,
                invocation.access().drivers.detect_known(*file));
    if (known != nullptr && !spec.base.format) {
      const std::string text = describe_known(*known, *file, spec.base.path(), json);
      if (!known->is_disk) return text;
      SNAP_ASSIGN(const std::string within, describe_content(invocation, {file}, json));
      return text + within;
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
  std::string text = text_line("{:<16}view of a dm-snapshot", "format:") +
                     size_text("virtual size:", open.image().size()) +
                     text_line("{:<16}{}", "origin:", spec.base.name());
  json["layers"] = Json::array();
  for (size_t i = 1; i < open.files.size(); ++i) {
    const std::string name = spec.stores[i - 1].name();
    SNAP_ASSIGN(const auto store, access::store_facts(*open.files[i], invocation.cancel()));
    text += text_line("{:<16}{}", "store:", name) + store_text(store, name);
    Json layer = store_json(store);
    layer["cow"] = name;
    json["layers"].push_back(std::move(layer));
  }
  const auto view = std::make_shared<ContentFile>(open.image(), Access::kRead);
  SNAP_ASSIGN(const std::string within, describe_content(invocation, {view}, json));
  return text + within;
}

}  // namespace snaptool::cli
