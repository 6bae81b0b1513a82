// SPDX-License-Identifier: Apache-2.0
#include "cli/support/output_options.h"

#include <fmt/format.h>

#include <charconv>

#include "cli/support/data_source.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/zstd.h"

namespace snaptool::cli {
namespace {

constexpr size_t kIdDigits = 64;

}  // namespace

Result<std::unique_ptr<access::ChangeFile>> open_changes(access::Opener& opener,
                                                         const std::string& path) {
  if (path != "-") return access::ChangeFile::open(opener, path);
  DataSource::Request request;
  request.input = "-";
  SNAP_ASSIGN(auto source, DataSource::open(request));
  const auto pipe = std::make_shared<DataSource>(std::move(source));
  return access::ChangeFile::open_stream(
      opener.context().drivers,
      [pipe](std::span<std::byte> out) -> Result<size_t> { return pipe->read(out); },
      kStandardInput);
}

Result<int> level_of(const Invocation& invocation) {
  const auto text = invocation.value("level");
  if (!text) return kDefaultZstdLevel;
  int level = 0;
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), level);
  if (ec != std::errc() || end != text->data() + text->size() || level < kLeastZstdLevel ||
      level > kMostZstdLevel) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("--level takes a number from {} to {}, not '{}'", kLeastZstdLevel,
                             kMostZstdLevel, *text));
  }
  return level;
}

// clang-format off
OptionSpec level_option() {
  return value('l', "level", "LEVEL", "zstd compression level, from 1 to 19 (default: 3)");
}

OptionSpec unlinked_option() {
  return flag("unlinked", "accept diffs that nothing links as a chain, in the order given");
}
// clang-format on

Linking linking_of(const Invocation& invocation) {
  return invocation.has("unlinked") ? Linking::kOptional : Linking::kRequired;
}

bool out_is_stdout(const ParsedOptions& options) {
  return is_stdout(options.value("out").value_or("-"));
}

Result<void> report_changes(const Invocation& invocation, uint64_t target_size,
                            const ChangeEnd& end) {
  const ChangeTotals& totals = end.totals;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"target_size", target_size},
                 {"records", totals.records},
                 {"data_bytes", totals.data_bytes},
                 {"zero_bytes", totals.zero_bytes},
                 {"discard_bytes", totals.discard_bytes},
                 {"file_size", end.length}};
    if (end.child_id) json["child_id"] = id_text(*end.child_id);
    if (end.base_content) json["base_content_id"] = id_text(*end.base_content);
    if (end.target_content) json["target_content_id"] = id_text(*end.target_content);
    return invocation.report(json.text());
  }
  std::string text = fmt::format("wrote {} of changes ({} data, {} zeros) as {} ({} bytes)\n",
                                 format_size(totals.bytes()), format_size(totals.data_bytes),
                                 format_size(totals.zero_bytes + totals.discard_bytes),
                                 format_size(end.length), end.length);
  if (end.child_id && invocation.has("verbose")) {
    text += fmt::format("it leads to the state with the id {}\n", id_text(*end.child_id));
  }
  return invocation.report(text);
}

std::string id_text(std::span<const std::byte> id) { return hex_of(id); }

Result<Sha256::Digest> parse_id(const std::string& text) {
  Sha256::Digest id{};
  bool good = text.size() == kIdDigits;
  for (size_t i = 0; good && i < id.size(); ++i) {
    unsigned value = 0;
    const char* const from = text.data() + 2 * i;
    const auto [end, ec] = std::from_chars(from, from + 2, value, 16);
    good = ec == std::errc() && end == from + 2;
    id[i] = static_cast<std::byte>(value);
  }
  if (!good) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not an id: an id has 64 hex digits", text));
  }
  return id;
}

}  // namespace snaptool::cli
