// SPDX-License-Identifier: Apache-2.0
#include "cli/change_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "cli/json.h"
#include "formats/rbd/rbd_diff.h"
#include "libsnap/base/zstd.h"
#include "libsnap/diff/snapdiff.h"

namespace snaptool::cli {
namespace {

constexpr size_t kHead = 12;
constexpr size_t kIdDigits = 64;

std::optional<ChangeFile::Format> format_of(std::span<const std::byte> head) {
  if (looks_like_snapdiff(head)) return ChangeFile::Format::kSnapdiff;
  const int version = rbd::version_of(head);
  if (version == 1) return ChangeFile::Format::kRbd1;
  if (version == 2) return ChangeFile::Format::kRbd2;
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<ChangeFile>> ChangeFile::open(const access::Context& context,
                                                     const std::string& path, std::string name) {
  if (name.empty()) name = path == "-" ? kStandardInput : path;
  std::unique_ptr<ChangeFile> opened(new ChangeFile(std::move(name)));
  std::array<std::byte, kHead> head{};
  size_t size = 0;
  if (path == "-") {
    DataSource::Request request;
    request.input = "-";
    SNAP_ASSIGN(auto source, DataSource::open(request));
    opened->pipe_.emplace(std::move(source));
    SNAP_ASSIGN(size, opened->pipe_->read(head));
    opened->head_.assign(head.begin(), head.begin() + static_cast<ptrdiff_t>(size));
  } else {
    SNAP_ASSIGN(opened->file_, access::Opener(context).open_path(path, {Access::kRead, false}));
    size = std::min<uint64_t>(head.size(), opened->file_->size());
    SNAP_TRY(opened->file_->read_at(0, std::span(head).first(size)));
  }
  const auto format = format_of(std::span(head).first(size));
  constexpr std::string_view kRbd = "rbd diff v";
  if (!format && size >= kRbd.size() && std::memcmp(head.data(), kRbd.data(), kRbd.size()) == 0) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' is a diff of rbd's of another version than 1 and 2", opened->name_));
  }
  if (!format) {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is no diff: neither a snapdiff nor one of rbd's", opened->name_));
  }
  opened->format_ = *format;
  return opened;
}

Result<std::unique_ptr<ChangeReader>> ChangeFile::reader() {
  ByteSource source;
  if (file_ != nullptr) {
    source = file_source(*file_);
  } else {
    source = [this](std::span<std::byte> out) -> Result<size_t> {
      if (head_.empty()) return pipe_->read(out);
      const size_t size = std::min(out.size(), head_.size());
      std::memcpy(out.data(), head_.data(), size);
      head_.erase(head_.begin(), head_.begin() + static_cast<ptrdiff_t>(size));
      return size;
    };
  }
  if (format_ == Format::kSnapdiff) {
    SNAP_ASSIGN(auto reader, SnapdiffReader::open(std::move(source), name_));
    return std::unique_ptr<ChangeReader>(std::move(reader));
  }
  SNAP_ASSIGN(auto reader, rbd::Reader::open(std::move(source), name_));
  return std::unique_ptr<ChangeReader>(std::move(reader));
}

std::string_view format_name(ChangeFile::Format format) {
  switch (format) {
    case ChangeFile::Format::kSnapdiff:
      return "snapdiff";
    case ChangeFile::Format::kRbd1:
      return "rbd";
    case ChangeFile::Format::kRbd2:
      return "rbd2";
  }
  return "";
}

std::optional<ChangeFile::Format> change_format(std::string_view name) {
  for (const auto format :
       {ChangeFile::Format::kSnapdiff, ChangeFile::Format::kRbd1, ChangeFile::Format::kRbd2}) {
    if (name == format_name(format)) return format;
  }
  return std::nullopt;
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

OptionSpec level_option() {
  return {'l',
          "level",
          OptionKind::kValue,
          "LEVEL",
          "how hard zstd tries, from 1 to 19 (default: 3)",
          ValueHint::kNone,
          {}};
}

OptionSpec unlinked_option() {
  return {0,
          "unlinked",
          OptionKind::kFlag,
          "",
          "take diffs that nothing links for a chain, in the order given",
          ValueHint::kNone,
          {}};
}

Linking linking_of(const Invocation& invocation) {
  return invocation.has("unlinked") ? Linking::kOptional : Linking::kRequired;
}

std::unique_ptr<ChangeWriter> change_writer(ChangeFile::Format format, ByteSink sink, int level) {
  if (format == ChangeFile::Format::kSnapdiff) {
    return std::make_unique<SnapdiffWriter>(std::move(sink), level);
  }
  return std::make_unique<rbd::Writer>(std::move(sink),
                                       format == ChangeFile::Format::kRbd1 ? 1 : 2);
}

Result<void> report_changes(const Invocation& invocation, uint64_t target_size,
                            const ChangeEnd& end) {
  const ChangeTotals& totals = end.totals;
  if (invocation.json()) {
    Json json = {{"format_version", 1},
                 {"size", target_size},
                 {"records", totals.records},
                 {"data_bytes", totals.data_bytes},
                 {"zero_bytes", totals.zero_bytes},
                 {"discard_bytes", totals.discard_bytes},
                 {"length", end.length}};
    if (end.child_id) json["child_id"] = id_text(*end.child_id);
    if (end.base_content) json["base_content_id"] = id_text(*end.base_content);
    if (end.target_content) json["target_content_id"] = id_text(*end.target_content);
    return invocation.report(json.text());
  }
  std::string text = fmt::format("wrote {} of changes ({} data, {} zeros) as {} ({} bytes)\n",
                                 format_size(totals.bytes()), format_size(totals.data_bytes),
                                 format_size(totals.zero_bytes + totals.discard_bytes),
                                 format_size(end.length), end.length);
  if (end.child_id) {
    text += fmt::format("the state it leads to has the id {}\n", id_text(*end.child_id));
  }
  return invocation.report(text);
}

std::string id_text(std::span<const std::byte> id) {
  std::string text;
  for (const std::byte b : id) text += fmt::format("{:02x}", static_cast<unsigned>(b));
  return text;
}

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
    return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' is no id: 64 hex digits", text));
  }
  return id;
}

}  // namespace snaptool::cli
