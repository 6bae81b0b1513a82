// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <bit>
#include <map>

#include "cli/command_table.h"
#include "cli/exit_status.h"
#include "cli/json.h"
#include "cli/operands.h"
#include "cli/stdio.h"
#include "libsnap/ops/convert.h"

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
      return bad(fmt::format("--option {}: {}=VALUE is wanted", text, name));
    settings[name] = text.substr(equals + 1);
  }
  return settings;
}

// What goes with what.
Result<void> check_options(const Invocation& invocation, const access::ImageDriver& driver) {
  const bool raw = driver.kind == access::ImageKind::kRaw;
  if (raw && (invocation.has("compress") || invocation.has("base"))) {
    return bad("a raw image is neither compressed nor over a base: -O says what to make");
  }
  if (!raw && (invocation.has("no-create") || invocation.has("sparse"))) {
    return bad("-n and -S are for raw images; the others are made anew, of clusters");
  }
  if (!raw && driver.create == nullptr && invocation.has("base")) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("{} has no base within a file: 'snaptool export' writes what differs "
                             "from one",
                             driver.name));
  }
  if (!raw && !driver.can_compress && invocation.has("compress")) {
    return bad(fmt::format("{} has no compression", driver.name));
  }
  if (invocation.has("verify") && invocation.has("salvage")) {
    return bad(
        "--salvage makes an image that differs from its source: --verify does not go with it");
  }
  return {};
}

Result<uint64_t> sparse_of(const Invocation& invocation) {
  SNAP_ASSIGN(const auto given, invocation.size_value("sparse"));
  const uint64_t sparse = given.value_or(kDefaultSparse);
  if (sparse != 0 &&
      (!std::has_single_bit(sparse) || sparse < kSectorSize || sparse > kMostSparse)) {
    return bad(fmt::format("--sparse {}: 0 or a power of 2 from 512 to 64M is wanted", sparse));
  }
  return sparse;
}

Result<ops::ConvertRequest> request_of(const Invocation& invocation) {
  ops::ConvertRequest request;
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
  return request;
}

Result<int> run(Invocation& invocation) {
  SNAP_ASSIGN(const ops::ConvertRequest request, request_of(invocation));
  SNAP_ASSIGN(const ops::Converted converted, ops::convert(invocation.access(), request));
  for (const ByteRange& range : converted.unreadable) {
    invocation.warn(fmt::format("{} bytes at byte {} could not be read: there are zeros",
                                range.length, range.offset));
  }
  const uint64_t lost = converted.unreadable_bytes;
  const int status = lost > 0 ? kExitDamagedInput : kExitDone;
  if (converted.streamed) return status;  // standard output may be the image itself
  const Json json = {{"format_version", 1},
                     {"filename", request.path},
                     {"format", request.driver->name},
                     {"virtual_size", converted.size},
                     {"data_bytes", converted.result.data_bytes},
                     {"zero_bytes", converted.result.zero_bytes},
                     {"unreadable_bytes", lost}};
  const std::string text = fmt::format(
      "{}: {} of data{}\n", printable(request.path), format_size(converted.result.data_bytes),
      lost > 0 ? fmt::format(", and {} that could not be read", format_size(lost)) : "");
  SNAP_TRY(invocation.report(invocation.json() ? json.text() : text));
  return status;
}

}  // namespace

CommandSpec convert_command() {
  CommandSpec command;
  command.name = "convert";
  command.operands = "IMAGE OUT";
  command.min_operands = command.max_operands = 2;
  command.summary = "make an image of another format";
  // clang-format off
  command.description =
      "Writes the content of IMAGE to OUT, in the format that -O names. Zeros become holes. With --base, OUT is an overlay: it has only what differs from IMAGE0, and names that as its backing file. 'snaptool convert ORIGIN@COW OUT -O qcow2 --base ORIGIN' makes one of a snapshot.\n\n"
      "A new raw image is written as OUT.partial first: if that is interrupted, the same command goes on with it. Other formats appear whole or not at all.";
  command.options = {
    choice('O', "output-format", "FMT", "raw (the default), qcow2, rbd (Ceph's whole images), or dm-snapshot: a store over the image that --base names", {"raw", "qcow2", "rbd", "dm-snapshot"}),
    repeated(value("option", "NAME=VALUE", "a setting of the format (see snaptool-convert(1))")),
    flag('c', "compress", "compress each cluster, with zstd unless compression_type says otherwise"),
    file("base", "IMAGE0", "only what differs from IMAGE0, as an overlay of it"),
    value('S', "sparse", "SIZE", "-O raw: SIZE bytes of zeros become a hole (default: 4k); 0: none do"),
    flag('n', "no-create", "-O raw: write into OUT, which is there"),
    choice('t', "cache", "MODE", "writeback (the default: OUT is durable when the command is done) or unsafe", {"writeback", "unsafe"}),
    flag("salvage", "go on where IMAGE cannot be read: there will be zeros, and exit status 65"),
    flag("verify", "read OUT back and compare it before it gets its name"),
    flag("force", "replace OUT if it exists"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kSecondFormat,  Shared::kFollowParents,
                    Shared::kParent,     Shared::kIgnoreInvalid, Shared::kForceShare,
                    Shared::kJobs,       Shared::kProgress,      Shared::kJson,
                    Shared::kGroupBackup};
  command.run = run;
  return command;
}

}  // namespace snaptool::cli
