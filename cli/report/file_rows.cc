// SPDX-License-Identifier: Apache-2.0
#include "cli/report/file_rows.h"

#include <fmt/format.h>

#include "cli/report/file_facts.h"
#include "cli/support/json.h"
#include "cli/support/stdio.h"
#include "libsnap/base/printable.h"

namespace snaptool::cli {
using access::NodeType;

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
  const std::string name = printable_name(path);
  if (form_ == Form::kNames) return out_.write(text_line("{}{}", name, deleted));
  if (!node)
    return out_.write(text_line("{:>10} ? {} ({})", entry.id, name, node.error().message()));
  const std::string owners =
      node->owner ? fmt::format("{}:{}", *node->owner, node->group.value_or(0)) : "-";
  return out_.write(text_line(
      "{:>10} {}{} {:>3} {:>11} {:>14} {:<30} {}{}{}{}", node->id, type_name(node->type).letter,
      node->mode ? mode_text(*node->mode) : "         ", node->links, owners, node->size,
      node->modified ? time_text(*node->modified, files_.has_local_times()) : "-", name,
      node->type == NodeType::kLink ? " -> " + printable_name(target) : "",
      node->encrypted ? " (encrypted)" : "", deleted));
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
    row.update(node_json(*node, files_.has_local_times()));
    if (node->type == NodeType::kLink) row["target"] = target;
  }
  const std::string text = (any_ ? ",\n " : "\n ") + row.line();
  any_ = true;
  return out_.write(text);
}

Result<void> FileRows::finish() {
  return form_ == Form::kJson ? out_.write(any_ ? "\n]}\n" : "]}\n") : Result<void>();
}

}  // namespace snaptool::cli
