// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace snaptool::access {
namespace {

struct Setting {
  Settings::Row row;
  Result<void> (*set)(Policy& policy, std::optional<std::string>& format, std::string_view name,
                      const std::string& value);
};

template <bool Policy::*kFlag>
Result<void> set_flag(Policy& policy, std::optional<std::string>& /*format*/, std::string_view name,
                      const std::string& value) {
  SNAP_ASSIGN(policy.*kFlag, parse_flag(name, value));
  return {};
}

template <std::optional<std::string> Policy::*kText>
Result<void> set_text(Policy& policy, std::optional<std::string>& /*format*/,
                      std::string_view /*name*/, const std::string& value) {
  policy.*kText = value;
  return {};
}

Result<void> set_format(Policy& /*policy*/, std::optional<std::string>& format,
                        std::string_view /*name*/, const std::string& value) {
  format = value;
  return {};
}

Result<void> add_parent(Policy& policy, std::optional<std::string>& /*format*/,
                        std::string_view /*name*/, const std::string& value) {
  policy.parents.push_back(value);
  return {};
}

Result<void> follow_parents(Policy& policy, std::optional<std::string>& /*format*/,
                            std::string_view name, const std::string& value) {
  constexpr std::array<std::string_view, 3> kWords = {"no", "folder", "anywhere"};
  constexpr std::array kMeanings = {Parents::kNone, Parents::kInFolder, Parents::kAnywhere};
  const auto* const word = std::find(kWords.begin(), kWords.end(), value);
  if (word == kWords.end()) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} takes no, folder or anywhere, not '{}'", name, value));
  }
  policy.follow_parents = kMeanings[static_cast<size_t>(word - kWords.begin())];
  return {};
}

constexpr std::array kSettings = {
    Setting{{"follow-parents",
             "no, folder or anywhere: whether parents that an image names are "
             "opened"},
            follow_parents},
    Setting{{"force", "go past guards that can be wrong"}, set_flag<&Policy::force>},
    Setting{{"force-share", "read even what another program is writing"},
            set_flag<&Policy::force_share>},
    Setting{{"format", "what the file is taken for, whatever it looks like"}, set_format},
    Setting{{"ignore-invalid", "read what an invalid store or a corrupt image still holds"},
            set_flag<&Policy::ignore_invalid>},
    Setting{{"internal-snapshot", "the snapshot within the image that is read, by name or id"},
            set_text<&Policy::internal_snapshot>},
    Setting{{"parent", "the image's parent; set it again for the parent of that"}, add_parent},
    Setting{{"vgcfg", "a file of vgcfgbackup, instead of LVM's metadata on the PVs"},
            set_text<&Policy::group_backup>},
};

const Setting* find(std::string_view name) {
  const auto* const found = std::find_if(kSettings.begin(), kSettings.end(),
                                         [&](const Setting& one) { return one.row.name == name; });
  return found == kSettings.end() ? nullptr : found;
}

}  // namespace

Result<bool> parse_flag(std::string_view name, std::string_view value) {
  for (const std::string_view word : {"true", "yes", "on", "1"}) {
    if (value == word) return true;
  }
  for (const std::string_view word : {"false", "no", "off", "0"}) {
    if (value == word) return false;
  }
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("{} takes true or false, not '{}'", name, value));
}

std::vector<Settings::Row> Settings::rows() {
  std::vector<Row> rows;
  for (const Setting& setting : kSettings) rows.push_back(setting.row);
  return rows;
}

bool Settings::has(std::string_view name) { return find(name) != nullptr; }

Result<void> Settings::set(std::string_view name, const std::string& value) {
  const Setting* const setting = find(name);
  if (setting == nullptr) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("there is no setting '{}'", name));
  }
  return setting->set(policy_, format_, name, value);
}

}  // namespace snaptool::access
