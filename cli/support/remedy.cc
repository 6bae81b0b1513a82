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
  {Remedy::kForce, "force", "--force does it anyway", ""},
  {Remedy::kTakeAsRaw, "format", "-f raw takes its bytes as they are", ""},
  {Remedy::kTakeBaseAsRaw, "second-format", "-F raw takes its bytes", ""},
  {Remedy::kJoinSplit, "format", "-f split reads them as one", ""},
  {Remedy::kFollowParents, "follow-parents", "--follow-parents opens it", "'snaptool convert --follow-parents' makes a single image"},
  {Remedy::kFollowAnywhere, "follow-parents", "--follow-parents=anywhere opens it", "'snaptool convert --follow-parents=anywhere' makes a single image"},
  {Remedy::kNameSums, "against", "--against MANIFEST checks its content", ""},
  {Remedy::kNameParent, "internal-snapshot", "--parent names it", "'snaptool convert --parent' makes a single image"},
  {Remedy::kIgnoreInvalid, "ignore-invalid", "--ignore-invalid reads what is left of it", "'snaptool read --ignore-invalid' shows what is left of it"},
  {Remedy::kNameJournal, "journal", "--journal FILE names one", ""},
  {Remedy::kNameSpool, "spool", "--spool FILE names one", ""},
  {Remedy::kNameOutput, "out", "-o NEW writes it to a new file or a device", ""},
  {Remedy::kNameBase, "full", "name it with --base IMAGE0, or export all of the image with --full", ""},
  {Remedy::kNameOrigin, "base", "--base names it", ""},
  {Remedy::kExportWhole, "", "'snaptool export --verify-base' makes a diff that does", ""},
  {Remedy::kResizeStore, "", "see 'snaptool resize'", ""},
  {Remedy::kNameBackup, "vgcfg", "--vgcfg names one", ""},
  {Remedy::kAllowInvalid, "allow-invalidate", "--allow-invalidate gives that snapshot up", ""},
  {Remedy::kNameSiblings, "sibling", "--sibling keeps the view of each, --force does it anyway", ""},
  {Remedy::kNameSiblings, "snapshot", "--snapshot keeps the view of each, --force does it anyway", ""},
  {Remedy::kNameSiblings, "force", "--force does it anyway", ""},
  {Remedy::kReplaceFile, "force", "--force replaces it", ""},
  {Remedy::kOverwrite, "force", "--force writes over it", ""},
  {Remedy::kDropTail, "force", "--force keeps what the list still shows and drops them", ""},
  {Remedy::kNameChunkSize, "chunk-size", "give it with --chunk-size, and the store can still be read", ""},
  {Remedy::kCreateStore, "", "'snaptool create' makes one", ""},
  {Remedy::kRepairStore, "", "'snaptool repair COW -o NEW' restores the list", ""},
  {Remedy::kAcceptDuplicates, "accept-duplicates", "--accept-duplicates uses the first of them, as the kernel does", "'snaptool merge --accept-duplicates' uses the first of them, as the kernel does"},
  {Remedy::kListDefects, "", "'snaptool verify' lists all that is wrong", ""},
  {Remedy::kTakeCopy, "force", "if it is a copy of that one, --force continues", "'snaptool apply --force' continues"},
  {Remedy::kRaiseZeroed, "max-zeroed", "--max-zeroed raises the limit; 'snaptool apply' can apply them one after the other", "'snaptool compose --max-zeroed' raises the limit"},
  {Remedy::kLinkDiffs, "unlinked", "'snaptool export --parent' or 'snaptool export --verify-base' makes a diff that is linked; --unlinked accepts it as it is", ""},
  {Remedy::kApplyDiff, "format", "'snaptool apply FILE IMAGE' applies it; -f raw takes its bytes as they are", "'snaptool apply FILE IMAGE' applies it"},
  {Remedy::kUndoMerge, "format", "'snaptool undo FILE ORIGIN COW' takes it back; -f raw takes its bytes as they are", "'snaptool undo FILE ORIGIN COW' takes it back"},
  {Remedy::kResumeApply, "format", "'snaptool apply --journal FILE' finishes it; -f raw takes its bytes as they are", "'snaptool apply --journal FILE' finishes it"},
  {Remedy::kCheckSums, "format", "'snaptool verify --against FILE IMAGE' uses it; -f raw takes its bytes as they are", "'snaptool verify --against FILE IMAGE' uses it"},
  {Remedy::kLeaveSandbox, "", "--no-sandbox turns it off", ""},
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
