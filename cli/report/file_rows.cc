// SPDX-License-Identifier: Apache-2.0
#include "cli/report/file_rows.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/support/json.h"
#include "cli/support/stdio.h"

namespace snaptool::cli {
namespace {

using access::FileNode;
using access::FileTime;
using access::NodeType;

struct TypeName {
  char letter;  // as ls has it
  std::string_view name;
};

TypeName type_name(NodeType type) {
  switch (type) {
    case NodeType::kFile:
      return {'-', "file"};
    case NodeType::kFolder:
      return {'d', "folder"};
    case NodeType::kLink:
      return {'l', "link"};
    case NodeType::kFifo:
      return {'p', "fifo"};
    case NodeType::kSocket:
      return {'s', "socket"};
    case NodeType::kCharacterDevice:
      return {'c', "character_device"};
    case NodeType::kBlockDevice:
      return {'b', "block_device"};
    case NodeType::kOther:
      break;
  }
  return {'?', "other"};
}

// "rwsr-x---", as ls has it.
std::string mode_text(uint32_t mode) {
  std::string text = "---------";
  for (unsigned i = 0; i < 9; ++i) {
    if ((mode & (0400U >> i)) != 0) text[i] = "rwx"[i % 3];
  }
  const auto mark = [&](uint32_t bit, size_t at, char set, char alone) {
    if ((mode & bit) != 0) text[at] = text[at] == 'x' ? set : alone;
  };
  mark(04000, 2, 's', 'S');
  mark(02000, 5, 's', 'S');
  mark(01000, 8, 't', 'T');
  return text;
}

// Years beyond those of the calendar functions are as seconds.
std::string time_text(const FileTime& time, bool local) {
  constexpr int64_t kFirst = -62135596800;  // year 1
  constexpr int64_t kLast = 253402300799;   // year 9999
  if (time.seconds < kFirst || time.seconds > kLast) {
    return fmt::format("@{}.{:09}", time.seconds, time.nanoseconds);
  }
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09}{}",
                     fmt::gmtime(static_cast<std::time_t>(time.seconds)), time.nanoseconds,
                     local ? "" : "Z");
}

}  // namespace

Result<void> FileRows::start() {
  if (form_ != Form::kJson) return {};
  Json system = {
      {"type", files_.type()},        {"label", files_.label()},
      {"uuid", files_.uuid()},        {"block_size", files_.block_size()},
      {"size", files_.size()},        {"times", files_.has_local_times() ? "local" : "UTC"},
      {"warnings", files_.warnings()}};
  return out_.write(
      fmt::format("{{\"format_version\": 1, \"file_system\": {}, \"files\": [", system.line()));
}

Result<void> FileRows::add(const ops::FoundFile& found) {
  const auto& [path, entry, node] = found;
  if (!node) ++broken_;
  std::string target;
  if (node && node->type == NodeType::kLink && !node->deleted && form_ != Form::kNames) {
    const auto read = files_.target(*node);
    read ? void(target = *read) : void(++broken_);
  }
  if (form_ == Form::kJson) return add_json(found, target);
  const std::string_view deleted = entry.deleted || (node && node->deleted) ? " (deleted)" : "";
  if (form_ == Form::kNames) return out_.write(text_line("{}{}", path, deleted));
  if (!node)
    return out_.write(text_line("{:>10} ? {} ({})", entry.id, path, node.error().message()));
  const std::string owners =
      node->owner ? fmt::format("{}:{}", *node->owner, node->group.value_or(0)) : "-";
  return out_.write(text_line(
      "{:>10} {}{} {:>3} {:>11} {:>14} {:<30} {}{}{}{}", node->id, type_name(node->type).letter,
      node->mode ? mode_text(*node->mode) : "         ", node->links, owners, node->size,
      node->modified ? time_text(*node->modified, files_.has_local_times()) : "-", path,
      node->type == NodeType::kLink ? " -> " + target : "", node->encrypted ? " (encrypted)" : "",
      deleted));
}

Result<void> FileRows::add_json(const ops::FoundFile& found, const std::string& target) {
  const auto& [path, entry, node] = found;
  Json row;
  row["path"] = path;
  row["inode"] = entry.id;
  row["type"] = type_name(node ? node->type : entry.type).name;
  if (entry.deleted || (node && node->deleted)) row["deleted"] = true;
  if (!node) {
    row["problem"] = node.error().message();
  } else {
    row["size"] = node->size;
    if (node->mode) row["mode"] = fmt::format("{:04o}", *node->mode);
    if (node->owner) row["uid"] = *node->owner;
    if (node->group) row["gid"] = *node->group;
    row["links"] = node->links;
    const auto add_time = [&](std::string_view key, const std::optional<FileTime>& time) {
      if (time) row[key] = time_text(*time, files_.has_local_times());
    };
    add_time("modified", node->modified);
    add_time("changed", node->changed);
    add_time("accessed", node->accessed);
    add_time("created", node->created);
    if (node->type == NodeType::kLink) row["target"] = target;
    if (node->encrypted) row["encrypted"] = true;
  }
  const std::string text = (any_ ? ",\n " : "\n ") + row.line();
  any_ = true;
  return out_.write(text);
}

Result<void> FileRows::finish() {
  return form_ == Form::kJson ? out_.write(any_ ? "\n]}\n" : "]}\n") : Result<void>();
}

}  // namespace snaptool::cli
