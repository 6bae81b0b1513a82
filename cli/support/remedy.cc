// SPDX-License-Identifier: Apache-2.0
#include "cli/support/remedy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

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

// `words` are of `option`, which the command must have; else `others`. No option: any command's.
struct Row {
  Remedy remedy;
  std::string_view option;
  std::string_view words;
  std::string_view others;
};

// clang-format off
constexpr auto kRows = std::to_array<Row>({
  {Remedy::kForce, "force", "--force does it all the same", ""},
  {Remedy::kTakeAsRaw, "format", "-f raw takes its bytes as they are", ""},
  {Remedy::kTakeBaseAsRaw, "second-format", "-F raw takes its bytes", ""},
  {Remedy::kJoinSplit, "format", "-f split reads them as one", ""},
  {Remedy::kFollowParents, "follow-parents", "--follow-parents opens it", "'snaptool convert --follow-parents' makes one image of it"},
  {Remedy::kFollowAnywhere, "follow-parents", "--follow-parents=anywhere opens it", "'snaptool convert --follow-parents=anywhere' makes one image of it"},
  {Remedy::kNameSums, "against", "--against MANIFEST checks its content", ""},
  {Remedy::kNameParent, "internal-snapshot", "--parent names it", "'snaptool convert --parent' makes one image of it"},
  {Remedy::kIgnoreInvalid, "ignore-invalid", "--ignore-invalid reads what is left of it", "'snaptool read --ignore-invalid' shows what is left of it"},
  {Remedy::kNameJournal, "journal", "--journal FILE says it", ""},
  {Remedy::kNameSpool, "spool", "--spool FILE says it", ""},
  {Remedy::kNameOutput, "out", "-o NEW writes it to a new file or a device", ""},
  {Remedy::kNameBase, "full", "--base IMAGE0 names it, --full takes all of the image", ""},
  {Remedy::kNameOrigin, "base", "--base names it", ""},
  {Remedy::kExportWhole, "", "'snaptool export --verify-base' makes one that does", ""},
  {Remedy::kResizeStore, "", "see 'snaptool resize'", ""},
  {Remedy::kNameBackup, "vgcfg", "--vgcfg names one", ""},
  {Remedy::kAllowInvalid, "allow-invalidate", "--allow-invalidate goes on without it", ""},
  {Remedy::kNameSiblings, "sibling", "--sibling keeps the view of each, --force does it all the same", ""},
  {Remedy::kNameSiblings, "snapshot", "--snapshot keeps the view of each, --force does it all the same", ""},
  {Remedy::kNameSiblings, "force", "--force does it all the same", ""},
  {Remedy::kReplaceFile, "force", "--force replaces it", ""},
  {Remedy::kOverwrite, "force", "--force writes over it", ""},
  {Remedy::kDropTail, "force", "--force takes what the list still shows and drops them", ""},
  {Remedy::kNameChunkSize, "chunk-size", "--chunk-size says it, and the store is read all the same", ""},
  {Remedy::kCreateStore, "", "'snaptool create' makes one", ""},
  {Remedy::kRepairStore, "", "'snaptool repair COW -o NEW' brings the list back", ""},
  {Remedy::kAcceptDuplicates, "accept-duplicates", "--accept-duplicates takes the first of them, as the kernel does", "'snaptool merge --accept-duplicates' takes the first of them, as the kernel does"},
  {Remedy::kListDefects, "", "'snaptool verify' lists all that is wrong", ""},
  {Remedy::kTakeCopy, "force", "--force takes it for a copy of that, and goes on", "'snaptool apply --force' goes on"},
  {Remedy::kRaiseZeroed, "max-zeroed", "--max-zeroed raises the limit; 'snaptool apply' takes them one after the other", "'snaptool compose --max-zeroed' raises the limit"},
  {Remedy::kLinkDiffs, "unlinked", "'snaptool export --parent' or 'snaptool export --verify-base' makes one that says it; --unlinked takes it for so", ""},
  {Remedy::kApplyDiff, "format", "'snaptool apply FILE IMAGE' applies it; -f raw takes its bytes as they are", "'snaptool apply FILE IMAGE' applies it"},
  {Remedy::kUndoMerge, "format", "'snaptool undo FILE ORIGIN COW' takes it back; -f raw takes its bytes as they are", "'snaptool undo FILE ORIGIN COW' takes it back"},
  {Remedy::kResumeApply, "format", "'snaptool apply --journal FILE' goes on; -f raw takes its bytes as they are", "'snaptool apply --journal FILE' goes on"},
  {Remedy::kCheckSums, "format", "'snaptool verify --against FILE IMAGE' uses it; -f raw takes its bytes as they are", "'snaptool verify --against FILE IMAGE' uses it"},
  {Remedy::kLeaveSandbox, "", "--no-sandbox does without it", ""},
});
// clang-format on

}  // namespace

std::string_view remedy_words(Remedy remedy, std::string_view command) {
  std::string_view words;
  for (const Row& row : kRows) {
    if (row.remedy != remedy) continue;
    if (row.option.empty() || has_option(command, row.option)) return row.words;
    words = row.others;
  }
  return words;
}

std::string remedy_text(Remedy remedy, std::string_view command) {
  const std::string_view text = remedy_words(remedy, command);
  return text.empty() ? "" : fmt::format(" ({})", text);
}

}  // namespace snaptool::cli
