// SPDX-License-Identifier: Apache-2.0
#include "cli/support/convert_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <set>

#include "cli/support/operands.h"
#include "cli/support/slips.h"
#include "formats/bmap/bmap.h"
#include "formats/format.h"
#include "libsnap/access/opener.h"
#include "libsnap/access/stream.h"

namespace snaptool::cli {
namespace {

constexpr uint64_t kDefaultSparse = 4 * kKiB;
constexpr uint64_t kMostSparse = 64 * kMiB;

Error bad(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

Result<std::map<std::string, std::string>> settings_of(const Invocation& invocation,
                                                       const access::ImageDriver& driver) {
  std::map<std::string, std::string> settings;
  for (const std::string& text : invocation.values("option")) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    std::string known;
    bool found = false;
    for (const access::ImageSetting& setting : driver.settings) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", setting.name);
      found = found || setting.name == name;
    }
    if (!found) {
      return bad(fmt::format("--option {}: {} has {}", text, driver.name,
                             known.empty() ? "none" : "only: " + known));
    }
    if (equals == std::string::npos)
      return bad(fmt::format("--option {}: write {}=VALUE", text, name));
    settings[name] = text.substr(equals + 1);
  }
  return settings;
}

// What the ending of a name promises: the word for -O, and what that makes.
struct Ending {
  std::string_view ending;  // in lower case
  std::string_view format;
  std::string_view label;
};
constexpr auto kEndings = std::to_array<Ending>({{".qcow2", "qcow2", "a qcow2 image"},
                                                 {".vmdk", "vmdk", "a VMDK"},
                                                 {".vdi", "vdi", "a VDI"},
                                                 {".vhd", "vhd", "a VHD"},
                                                 {".vhdx", "vhdx", "a VHDX"},
                                                 {".e01", "e01", "an E01"},
                                                 {".simg", "simg", "an Android sparse image"}});

// That nobody gets a raw image by the name of another.
Result<void> check_name(const Invocation& invocation) {
  if (invocation.has("output-format")) return {};
  const std::string& out = invocation.operands()[1];
  const std::string name = lower_case(out);
  for (const Ending& one : kEndings) {
    if (!name.ends_with(one.ending)) continue;
    return bad(fmt::format("'{}' would be raw: -O {} makes {}, -O raw makes it raw all the same",
                           out, one.format, one.label));
  }
  return {};
}

// What goes with what.
Result<void> check_options(const Invocation& invocation, const access::ImageDriver& driver) {
  const bool raw = driver.kind == access::ImageKind::kRaw;
  if (raw && (invocation.has("compress") || invocation.has("base"))) {
    return bad("a raw image cannot be compressed or have a base: choose another format with -O");
  }
  if (!raw && (invocation.has("no-create") || invocation.has("sparse"))) {
    return bad("-n and -S are only for raw images");
  }
  if (!raw && !driver.takes_base && invocation.has("base")) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("a {} image cannot have a base: qcow2 can, and 'snaptool "
                             "export' writes what differs",
                             driver.name));
  }
  if (!raw && !driver.can_compress && invocation.has("compress")) {
    return bad(fmt::format("{} has no compression", driver.name));
  }
  if (invocation.has("bmap")) {
    for (const char* const other : {"base", "compress", "option", "salvage", "sparse", "verify"}) {
      if (!invocation.has(other)) continue;
      return bad(fmt::format(
          "--{} and --bmap do not go together: what the map names is copied as it is", other));
    }
    if (!raw || access::StreamTarget::is_named_by(invocation.operands()[1])) {
      return bad("--bmap copies to a file or device, as a raw image");
    }
  }
  if (invocation.has("verify") && invocation.has("salvage")) {
    return bad(
        "--salvage makes an image that differs from its source: --verify does not go with it");
  }
  return {};
}

Result<BlockMap> read_block_map(const Invocation& invocation, const std::string& path) {
  access::Opener opener(invocation.access());
  SNAP_ASSIGN(const auto file, opener.open_path(path, access::kLook));
  SNAP_ASSIGN(BlockMap map, bmap::read_bmap(*file));
  const bool all_have_sums =
      std::all_of(map.ranges.begin(), map.ranges.end(),
                  [](const BlockMap::Range& range) { return !range.sum.empty(); });
  if (!all_have_sums) {
    invocation.warn(
        fmt::format("'{}' has no checksums for some ranges: these are not checked", path));
  }
  return map;
}

Result<uint64_t> sparse_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("sparse"));
  const uint64_t sparse = given.value_or(kDefaultSparse);
  if (sparse != 0 &&
      (!std::has_single_bit(sparse) || sparse < kSectorSize || sparse > kMostSparse)) {
    return bad(fmt::format("--sparse {}: it must be 0 or a power of 2 from 512 to 64M", sparse));
  }
  return sparse;
}

}  // namespace

std::optional<std::string> settings_help(const ParsedOptions& options) {
  const auto given = options.values("option");
  if (std::find(given.begin(), given.end(), "help") == given.end()) return std::nullopt;
  const std::string format = options.value("output-format").value_or("raw");
  const access::ImageDriver* const driver = all_drivers().find_image(format);
  if (driver == nullptr || driver->settings.empty()) {
    return fmt::format("{} takes no --option\n", format);
  }
  std::string text;
  for (const access::ImageSetting& setting : driver->settings) {
    text += fmt::format("{}=VALUE\n    {}\n", setting.name, setting.help);
  }
  return text;
}

std::vector<std::string_view> setting_words() {
  static const std::set<std::string> names = [] {
    std::set<std::string> made;
    for (const access::ImageDriver& driver : all_drivers().images) {
      for (const access::ImageSetting& setting : driver.settings) {
        made.insert(fmt::format("{}=", setting.name));
      }
    }
    return made;
  }();
  std::vector<std::string_view> words{"help"};
  words.insert(words.end(), names.begin(), names.end());
  return words;
}

Result<ops::ConvertRequest> convert_request(const Invocation& invocation) {
  ops::ConvertRequest request;
  SNAP_TRY(check_name(invocation));
  request.path = invocation.operands()[1];
  request.driver =
      invocation.access().drivers.find_image(invocation.value("output-format").value_or("raw"));
  SNAP_TRY(check_options(invocation, *request.driver));
  SNAP_ASSIGN(request.settings, settings_of(invocation, *request.driver));
  SNAP_ASSIGN(request.sparse, sparse_of(invocation));
  request.durable = invocation.value("cache") != "unsafe";
  request.compress = invocation.has("compress");
  request.fill = invocation.has("no-create");
  request.salvage = invocation.has("salvage");
  request.verify = invocation.has("verify");
  SNAP_ASSIGN(request.image, image_operand(invocation));
  if (const auto base = invocation.value("base")) {
    SNAP_ASSIGN(request.base, image_named(invocation, *base, "second-format"));
  }
  if (const auto map = invocation.value("bmap")) {
    SNAP_ASSIGN(request.map, read_block_map(invocation, *map));
  }
  return request;
}

}  // namespace snaptool::cli
