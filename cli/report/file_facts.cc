// SPDX-License-Identifier: Apache-2.0
#include "cli/report/file_facts.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace snaptool::cli {

using access::FileNode;
using access::FileTime;
using access::NodeType;

NodeTypeName type_name(NodeType type) {
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

Json node_json(const FileNode& node, bool local_times) {
  Json json = Json::object();
  json["size"] = node.size;
  if (node.mode) json["mode"] = fmt::format("{:04o}", *node.mode);
  if (node.owner) json["uid"] = *node.owner;
  if (node.group) json["gid"] = *node.group;
  json["links"] = node.links;
  const auto add_time = [&](std::string_view key, const std::optional<FileTime>& time) {
    if (time) json[key] = time_text(*time, local_times);
  };
  add_time("modified", node.modified);
  add_time("changed", node.changed);
  add_time("accessed", node.accessed);
  add_time("created", node.created);
  if (node.encrypted) json["encrypted"] = true;
  return json;
}

}  // namespace snaptool::cli
