// SPDX-License-Identifier: Apache-2.0
#include "cli/remedy.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/command_table.h"

namespace snaptool::cli {
namespace {

bool has_option(std::string_view command, std::string_view option) {
  const CommandSpec* const spec = find_command(command);
  if (spec == nullptr) return false;
  const auto options = all_options(*spec);
  return std::any_of(options.begin(), options.end(),
                     [&](const OptionSpec& one) { return one.long_name == option; });
}

std::string words(Remedy remedy, std::string_view command) {
  switch (remedy) {
    case Remedy::kNone:
      break;
    case Remedy::kForce:
      return has_option(command, "force") ? "--force does it all the same" : "";
    case Remedy::kTakeAsRaw:
      return has_option(command, "format") ? "-f raw takes its bytes as they are" : "";
    case Remedy::kTakeBaseAsRaw:
      return "-F raw takes its bytes";
    case Remedy::kJoinSplit:
      return "-f split reads them as one";
    case Remedy::kFollowParents:
      return "--follow-parents opens it";
    case Remedy::kNameParent:
      return "--parent names it";
    case Remedy::kIgnoreInvalid:
      return has_option(command, "ignore-invalid") ? "--ignore-invalid reads it" : "";
    case Remedy::kNameJournal:
      return "--journal FILE says it";
    case Remedy::kNameSpool:
      return "--spool FILE says it";
    case Remedy::kNameOutput:
      return "-o NEW writes it to a new file or a device";
    case Remedy::kNameBase:
      return "--base IMAGE0 names it, --full takes all of the image";
    case Remedy::kAllowInvalid:
      return "--allow-invalidate goes on without it";
    case Remedy::kExportWhole:
      return "'snaptool export --verify-base' makes one that does";
    case Remedy::kResizeStore:
      return "see 'snaptool resize'";
    case Remedy::kNameBackup:
      return "--vgcfg names one";
    case Remedy::kNameSiblings:
      for (const std::string_view option : {"sibling", "snapshot"}) {
        if (!has_option(command, option)) continue;
        return fmt::format("--{} keeps the view of each, --force does it all the same", option);
      }
      return words(Remedy::kForce, command);
  }
  return {};
}

}  // namespace

std::string remedy_text(Remedy remedy, std::string_view command) {
  const std::string text = words(remedy, command);
  return text.empty() ? text : fmt::format(" ({})", text);
}

}  // namespace snaptool::cli
