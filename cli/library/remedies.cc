// SPDX-License-Identifier: Apache-2.0
#include "cli/library/remedies.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace snaptool::library {
namespace {

struct Row {
  Remedy remedy;
  std::string_view words;
};

constexpr auto kRows = std::to_array<Row>({
    {Remedy::kForce, "the option force does it anyway"},
    {Remedy::kTakeAsRaw, "the option format=raw takes its bytes as they are"},
    {Remedy::kJoinSplit, "the option format=split reads them as one"},
    {Remedy::kFollowParents, "the option follow-parents=folder opens it"},
    {Remedy::kFollowAnywhere, "the option follow-parents=anywhere opens it"},
    {Remedy::kNameParent, "the option parent names it"},
    {Remedy::kIgnoreInvalid, "the option ignore-invalid reads what is left of it"},
    {Remedy::kNameBackup, "the option vgcfg names one"},
    {Remedy::kNameSiblings, "the option sibling keeps the view of each, force does it anyway"},
    {Remedy::kOverwrite, "the option force writes over it"},
    {Remedy::kDropTail, "the option force keeps what the list still shows and drops them"},
    {Remedy::kCreateStore, "snap_create makes one"},
    {Remedy::kRepairStore, "'snaptool repair' restores the list"},
    {Remedy::kAcceptDuplicates, "the option accept-duplicates uses the first of them"},
    {Remedy::kListDefects, "snap_verify lists all that is wrong"},
    {Remedy::kUndoMerge, "'snaptool undo' takes it back"},
    {Remedy::kResumeApply, "'snaptool apply --journal' finishes it"},
});

}  // namespace

std::string remedy_text(Remedy remedy) {
  for (const Row& row : kRows) {
    if (row.remedy == remedy) return fmt::format(" ({})", row.words);
  }
  return "";
}

}  // namespace snaptool::library
