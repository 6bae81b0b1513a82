// SPDX-License-Identifier: Apache-2.0
#include "cli/support/remedy.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/support/command_table.h"

namespace snaptool::cli {
namespace {

bool has_option(std::string_view command, std::string_view option) {
  const CommandSpec* const spec = find_command(command);
  if (spec == nullptr) return false;
  const auto options = all_options(*spec);
  return std::any_of(options.begin(), options.end(),
                     [&](const OptionSpec& one) { return one.long_name == option; });
}

// For a file that is not read as an image, unless the user says so.
std::string or_as_raw(std::string_view use, std::string_view command) {
  const std::string raw = remedy_words(Remedy::kTakeAsRaw, command);
  return raw.empty() ? std::string(use) : fmt::format("{}; {}", use, raw);
}

}  // namespace

std::string remedy_words(Remedy remedy, std::string_view command) {
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
      return has_option(command, "ignore-invalid")
                 ? "--ignore-invalid reads what is left of it"
                 : "'snaptool read --ignore-invalid' shows what is left of it";
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
      return remedy_words(Remedy::kForce, command);
    case Remedy::kReplaceFile:
      return has_option(command, "force") ? "--force replaces it" : "";
    case Remedy::kOverwrite:
      return "--force writes over it";
    case Remedy::kDropTail:
      return has_option(command, "force") ? "--force takes what the list still shows and drops them"
                                          : "";
    case Remedy::kNameChunkSize:
      return "--chunk-size says it, and the store is read all the same";
    case Remedy::kNameOrigin:
      return "--base names it";
    case Remedy::kCreateStore:
      return "'snaptool create' makes one";
    case Remedy::kRepairStore:
      return "'snaptool repair COW -o NEW' brings the list back";
    case Remedy::kAcceptDuplicates:
      return has_option(command, "accept-duplicates")
                 ? "--accept-duplicates takes the first of them, as the kernel does"
                 : "'snaptool merge --accept-duplicates' takes the first of them, as the kernel does";
    case Remedy::kListDefects:
      return "'snaptool verify' lists all that is wrong";
    case Remedy::kLinkDiffs:
      return "'snaptool export' with --parent or --verify-base would; --unlinked takes it for so";
    case Remedy::kApplyDiff:
      return or_as_raw("'snaptool apply FILE IMAGE' applies it", command);
    case Remedy::kUndoMerge:
      return or_as_raw("'snaptool undo FILE ORIGIN COW' takes it back", command);
    case Remedy::kResumeApply:
      return or_as_raw("'snaptool apply --journal FILE' goes on", command);
    case Remedy::kCheckSums:
      return or_as_raw("'snaptool verify --against FILE IMAGE' uses it", command);
  }
  return {};
}

std::string remedy_text(Remedy remedy, std::string_view command) {
  const std::string text = remedy_words(remedy, command);
  return text.empty() ? text : fmt::format(" ({})", text);
}

}  // namespace snaptool::cli
