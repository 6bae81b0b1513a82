// SPDX-License-Identifier: Apache-2.0
#include "cli/report/file_changes.h"

#include <fmt/format.h>

#include "cli/report/file_facts.h"
#include "cli/support/stdio.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {
namespace {

using access::FileNode;
using ops::FileField;

constexpr std::array<std::string_view, 10> kUseNames = {
    "content", "slack", "structures", "inodes", "metadata",
    "journal", "free",  "nameless",   "beyond", "unknown"};

// "mode 0644 -> 0600"
std::string field_text(FileField field, const ops::FileVersion& before,
                       const ops::FileVersion& after) {
  const FileNode& was = before.node;
  const FileNode& is = after.node;
  const auto both = [&](std::string_view old, std::string_view now) {
    return fmt::format("{} {} -> {}", ops::name_of(field), old, now);
  };
  const auto number = [](std::optional<uint32_t> value, const char* format) {
    return value ? fmt::format(fmt::runtime(format), *value) : std::string("-");
  };
  switch (field) {
    case FileField::kSize:
      return both(fmt::to_string(was.size), fmt::to_string(is.size));
    case FileField::kLinks:
      return both(fmt::to_string(was.links), fmt::to_string(is.links));
    case FileField::kInode:
      if (was.id == is.id) return fmt::format("inode {}, used anew", is.id);
      return both(fmt::to_string(was.id), fmt::to_string(is.id));
    case FileField::kMode:
      return both(number(was.mode, "{:04o}"), number(is.mode, "{:04o}"));
    case FileField::kOwner:
      return both(number(was.owner, "{}"), number(is.owner, "{}"));
    case FileField::kGroup:
      return both(number(was.group, "{}"), number(is.group, "{}"));
    case FileField::kTarget:
      return both(printable_name(before.target), printable_name(after.target));
    default:
      return std::string(ops::name_of(field));
  }
}

Json version_json(const ops::FileVersion& version, bool local) {
  Json json = {{"path", version.path}, {"inode", version.node.id}};
  json.update(node_json(version.node, local));
  if (version.node.type == access::NodeType::kLink) json["target"] = version.target;
  if (!version.sha256.empty()) json["sha256"] = version.sha256;
  return json;
}

Json facts_json(const ops::VolumeFacts& facts) {
  Json json = {{"offset", facts.offset}, {"size", facts.size}};
  if (!facts.problem.empty()) {
    json["problem"] = facts.problem;
    return json;
  }
  json.update({{"type", facts.type},
               {"label", facts.label},
               {"uuid", facts.uuid},
               {"block_size", facts.block_size},
               {"times", facts.local_times ? "local" : "UTC"}});
  return json;
}

Json use_json(const ops::SpaceUse& use, std::string_view path) {
  Json json = {{"use", use_name(use.use)}};
  if (use.id != 0) json["inode"] = use.id;
  if (!path.empty()) json["path"] = path;
  return json;
}

}  // namespace

Result<ops::VolumeDiffSummary> compare_files(
    const Invocation& invocation, Image& before, Image& after, const ops::ChangedRanges& changed,
    const std::vector<std::unique_ptr<ReportWriter>>& writers) {
  const access::Phase phase(invocation.access(), "comparing files");
  const auto tell = [&](const auto& what) -> Result<void> {
    for (const auto& writer : writers) SNAP_TRY(what(*writer));
    return {};
  };
  ops::VolumeDiffVisitor visitor;
  visitor.begin = [&](const ops::VolumePair& volume) {
    return tell([&](ReportWriter& writer) { return writer.begin_volume(volume); });
  };
  visitor.files.change = [&](const ops::FileChange& change) {
    return tell([&](ReportWriter& writer) { return writer.add_change(change); });
  };
  visitor.files.piece = [&](const ops::FilePiece& piece) {
    return tell([&](ReportWriter& writer) { return writer.add_piece(piece); });
  };
  visitor.end = [&](const ops::VolumePair&, const ops::FileDiffSummary& summary) {
    return tell([&](ReportWriter& writer) { return writer.end_volume(summary); });
  };
  visitor.outside = [&](const ByteRange& range) {
    return tell([&](ReportWriter& writer) { return writer.add_outside(range); });
  };
  ops::VolumeDiffOptions options;
  options.full = !invocation.value("files").value_or("").empty();
  options.runs = invocation.has("report");
  return ops::diff_volumes(invocation.access(), before, after, changed, options, visitor,
                           phase.job());
}

Error files_not_read(const ops::VolumeDiffSummary& files) {
  return {ErrorCode::kCorruption,
          fmt::format("{} part{} of the images could not be read ({})", files.problems,
                      files.problems == 1 ? "" : "s", files.first_problem)};
}

std::string_view use_name(ops::Use use) { return kUseNames.at(static_cast<size_t>(use)); }

std::string change_text(const ops::FileChange& change) {
  std::string path = printable_name(change.before ? change.before->path : change.after->path);
  if (path.empty()) path = "/";
  if (change.before && change.after && change.after->path != change.before->path) {
    path += " -> " + printable_name(change.after->path);
  }
  std::string fields;
  const auto add = [&](std::string_view text) {
    fields += fields.empty() ? "" : ", ";
    fields += text;
  };
  for (const FileField field : change.fields) {
    if (field != FileField::kName) {
      add(field_text(field, *change.before, *change.after));
    }
  }
  if (!change.before || !change.after) {
    const ops::FileVersion& version = change.before ? *change.before : *change.after;
    if (version.node.type == access::NodeType::kFile) {
      add(counted(version.node.size, "byte"));
    } else {
      add(type_name(version.node.type).name);
    }
  }
  return text_line("{:<9} {}{}", ops::name_of(change.kind), path,
                   fields.empty() ? "" : " (" + fields + ")");
}

Json change_json(const ops::FileChange& change, bool local_times) {
  const ops::FileVersion& latest = change.after ? *change.after : *change.before;
  Json json = {{"kind", ops::name_of(change.kind)},
               {"path", latest.path},
               {"type", type_name(latest.node.type).name}};
  Json fields = Json::array();
  for (const FileField field : change.fields) fields.push_back(ops::name_of(field));
  json["fields"] = fields;
  if (change.before) json["before"] = version_json(*change.before, local_times);
  if (change.after) json["after"] = version_json(*change.after, local_times);
  return json;
}

Json piece_json(const ops::FilePiece& piece, const ops::VolumePair& volume) {
  const uint64_t offset = piece.piece.offset;
  return {{"offset", volume.before->offset + offset},
          {"volume_offset", offset},
          {"volume_sector", offset / kSectorSize},
          {"length", piece.piece.length},
          {"before", use_json(piece.piece.before, piece.path_before)},
          {"after", use_json(piece.piece.after, piece.path_after)}};
}

Json volume_json(const ops::VolumePair& volume) {
  Json json = {{"name", volume.name}};
  if (volume.has_ranges) json["changed_bytes"] = volume.changed_bytes;
  if (volume.before) json["before"] = facts_json(*volume.before);
  if (volume.after) json["after"] = facts_json(*volume.after);
  return json;
}

void UseTotals::add(const ops::ChangedPiece& piece) {
  const ops::Use use = piece.after.use == ops::Use::kFree ? piece.before.use : piece.after.use;
  bytes_.at(static_cast<size_t>(use)) += piece.length;
}

void UseTotals::visit(
    const std::function<void(std::string_view name, uint64_t bytes)>& visit) const {
  for (size_t use = 0; use < bytes_.size(); ++use) {
    if (bytes_.at(use) > 0) visit(kUseNames.at(use), bytes_.at(use));
  }
}

}  // namespace snaptool::cli
