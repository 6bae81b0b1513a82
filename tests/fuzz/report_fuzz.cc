// SPDX-License-Identifier: Apache-2.0
// Any bytes as the names, labels and notes that a report shows: its markup stays what it is with
// harmless ones, XML and JSON are well-formed and give them back, and no line is added.
#include <expat.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "cli/report/comparison.h"
#include "cli/report/disk_tree.h"
#include "cli/report/image_info.h"
#include "libsnap/base/printable.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/test_files.h"

namespace snaptool::test {
namespace {

using Texts = std::vector<std::string>;
using MakeWriter = std::unique_ptr<cli::ReportWriter> (*)(cli::TextOutput&);

void require(bool condition) {
  if (!condition) std::abort();
}

// Eight texts with 0xff between them; what is missing is empty.
Texts texts_of(std::string_view bytes) {
  Texts texts(8);
  for (std::string& text : texts) {
    text = bytes.substr(0, bytes.find('\xff'));
    bytes.remove_prefix(std::min(text.size() + 1, bytes.size()));
  }
  return texts;
}

// As long, with nothing to escape. Behind a '#' the label of a region begins.
Texts harmless(Texts texts) {
  for (std::string& text : texts) {
    for (char& c : text) c = c == '#' ? c : 'x';
  }
  return texts;
}

void write_report(const Texts& texts, cli::ReportWriter& writer) {
  cli::ReportHead head;
  head.before = {texts[0], kMiB, {{"sha256", "aa"}}, {}};
  head.after = {texts[1], 2 * kMiB, {{"sha256", "aa"}}, {}};
  head.command_line = texts[2];
  head.created = texts[3];
  head.regions = {{texts[4], 1, {{{0, 65536}, 0}}, texts[7]},
                  {texts[5], 2, {{{512, 4096}, 0}}, ""}};
  head.file_system = texts[7];
  cli::ReportRange range{{512, 1024, 3}, {}, {}, 0};
  range.before = {true, "aa", 1.5, false, "00ff", 4096, texts[6]};
  range.after = {true, "aa", 0, true, "", {}, ""};
  require(writer.begin(head).has_value() && writer.add(range).has_value());
  require(writer.finish({{1, 1024, 3, kMiB, 0, 0, true}, false, 4096, {}}).has_value());
}

std::string report(const Texts& texts, MakeWriter make) {
  int ends[2];
  require(::pipe(ends) == 0);
  std::ifstream in(fmt::format("/proc/self/fd/{}", ends[0]), std::ios::binary);
  auto reader = std::async(std::launch::async,
                           [&] { return std::string(std::istreambuf_iterator<char>(in), {}); });
  {
    const TestContext context;
    access::Door door(context.get(), access::operations::kOutput);
    auto out = cli::TextOutput::open(door, fmt::format("/proc/self/fd/{}", ends[1]));
    write_report(texts, *make(out.value()));
    require(out->commit().has_value());
  }
  ::close(ends[1]);
  std::string text = reader.get();
  ::close(ends[0]);
  require(printable_lines(text) == text);
  return text;
}

// The tags, one behind the other.
std::string tags_of(const std::string& page) {
  std::string tags;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const size_t end = page.find('>', at);
    require(end != std::string::npos && page.find('<', at + 1) > end);
    tags += page.substr(at, end - at + 1);
  }
  return tags;
}

std::string try_markup(const Texts& texts, MakeWriter make) {
  std::string text = report(texts, make);
  require(tags_of(text) == tags_of(report(harmless(texts), make)));
  return text;
}

// Each element as "name:text", without those in it.
Texts parse_xml(const std::string& text) {
  Texts elements;
  const auto start = [](void* data, const char* name, const char** /*attributes*/) {
    static_cast<Texts*>(data)->push_back(std::string(std::strrchr(name, '|') + 1) + ":");
  };
  const auto end = [](void* data, const char*) { static_cast<Texts*>(data)->emplace_back(); };
  const auto add = [](void* data, const char* piece, int size) {
    static_cast<Texts*>(data)->back().append(piece, static_cast<size_t>(size));
  };
  XML_Parser parser = XML_ParserCreateNS(nullptr, '|');
  XML_SetUserData(parser, &elements);
  XML_SetElementHandler(parser, start, end);
  XML_SetCharacterDataHandler(parser, add);
  require(XML_Parse(parser, text.data(), static_cast<int>(text.size()), 1) == XML_STATUS_OK);
  XML_ParserFree(parser);
  return elements;
}

void try_xml(const Texts& texts) {
  const Texts elements = parse_xml(try_markup(texts, cli::make_dfxml_report));
  const auto has = [&](const std::string& name, const std::string& text) {
    return std::ranges::count(elements, name + ":" + printable(text)) > 0;
  };
  require(has("image_filename", texts[0]) && has("image_filename", texts[1]));
  require(has("filename", texts[0]) && has("filename", texts[1]));
  require(has("command_line", texts[2]) && has("start_time", texts[3]));
}

nlohmann::json parse_json(const std::string& text) {
  const auto is_ascii = [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; };
  require(std::ranges::all_of(text, is_ascii));
  return nlohmann::json::parse(text);
}

// The text comes back, but for bytes that are no UTF-8: there is U+FFFD for them.
void require_text(const nlohmann::json& json, const char* pointer, const std::string& text) {
  const auto back = json.at(nlohmann::json::json_pointer(pointer)).get<std::string>();
  const bool replaced = back.find("\xef\xbf\xbd") != std::string::npos;
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  require(back == text || (replaced && std::ranges::count_if(back, is_ascii) ==
                                           std::ranges::count_if(text, is_ascii)));
}

void try_json(const Texts& texts) {
  const auto json = parse_json(report(texts, cli::make_json_report));
  require_text(json, "/image1/filename", texts[0]);
  require_text(json, "/image2/filename", texts[1]);
  require_text(json, "/command_line", texts[2]);
  require_text(json, "/created", texts[3]);
  require_text(json, "/ranges/0/before/filename", texts[6]);
}

// What info says of a disk, and of an image.
std::pair<std::string, cli::Json> describe(const Texts& texts) {
  access::DiskFacts disk;
  disk.problem = texts[1];
  disk.table = std::make_shared<access::TableFacts>();
  disk.table->warnings = {texts[2]};
  disk.table->partitions.emplace_back().partition.name = texts[0];
  disk.group = std::make_shared<access::GroupFacts>();
  disk.group->facts.name = texts[3];
  disk.group->volumes.emplace_back().volume.name = texts[4];
  access::ImageFacts image;
  image.parent = access::ParentRef{texts[5], {}, texts[6], {}};
  image.metadata = {{texts[7], texts[0]}};
  image.snapshots = {{texts[1], texts[2], kMiB, 1}};
  cli::Json json;
  cli::add_disk(json, disk);
  return {cli::disk_text(disk) + cli::describe_image(all_drivers().raw(), image, json), json};
}

void try_facts(const Texts& texts) {
  const auto [text, facts] = describe(texts);
  const std::string plain = describe(harmless(texts)).first;
  require(printable_lines(text) == text);
  require(std::ranges::count(text, '\n') == std::ranges::count(plain, '\n'));
  const auto json = parse_json(facts.text());
  require_text(json, "/partition_table/partitions/0/name", texts[0]);
  require_text(json, "/lvm2/lvs/0/name", texts[4]);
  require_text(json, "/backing_filename", texts[5]);
  require_text(json, "/snapshots/0/name", texts[2]);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(report)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 1 || size > snaptool::kMiB) return 0;
  const Texts texts = texts_of({reinterpret_cast<const char*>(data) + 1, size - 1});
  // Byte 0: 0 a page, 1 DFXML, 2 JSON, 3 facts.
  if (data[0] % 4 == 0) try_markup(texts, snaptool::cli::make_html_report);
  if (data[0] % 4 == 1) try_xml(texts);
  if (data[0] % 4 == 2) try_json(texts);
  if (data[0] % 4 == 3) try_facts(texts);
  return 0;
}
