// SPDX-License-Identifier: Apache-2.0
#include "cli/report/mending.h"

#include <array>

#include "libsnap/base/check.h"

namespace snaptool::cli {
namespace {

constexpr std::string_view kRepair = "'snaptool repair COW -o NEW'";
constexpr std::string_view kWholeCopy =
    "copying it again, whole; else 'snaptool repair COW -o NEW' keeps the rest";

struct Row {
  DefectCode code;
  std::string_view mending;
};

// One row a code, in the order of the enum.
constexpr std::array<Row, static_cast<size_t>(DefectCode::kCount)> kRows = {{
    {DefectCode::kShortFile, "copying it again, whole"},
    {DefectCode::kTooSmall, "naming the right file"},
    {DefectCode::kNoStore, "nothing: it is new"},
    {DefectCode::kWipedHeader, kRepair},
    {DefectCode::kBadMagic, "naming the right file; else 'snaptool repair'"},
    {DefectCode::kBadVersion, kRepair},
    {DefectCode::kBadChunkSize, kRepair},
    {DefectCode::kInvalid,
     "'snaptool repair --ignore-invalid COW -o NEW' keeps what is there, with mixed times"},
    {DefectCode::kValidNotOne, "nothing: it does no harm"},
    {DefectCode::kMissingArea, kWholeCopy},
    {DefectCode::kOldBeyondOrigin,
     "naming the right origin if another was; else 'snaptool repair ORIGIN COW -o NEW'"},
    {DefectCode::kNewBeyondCow, kWholeCopy},
    {DefectCode::kNewIsMetadata, kRepair},
    {DefectCode::kNewHighByte, kRepair},
    {DefectCode::kDuplicateOld, kRepair},
    {DefectCode::kDuplicateNew, kRepair},
    {DefectCode::kLiveBehindTerminator, "'snaptool merge', or 'snaptool repair COW -o NEW'"},
    {DefectCode::kDestroyedArea, kRepair},
    {DefectCode::kDataUnreadable, kRepair},
    {DefectCode::kOldInTerminator, "nothing: it does no harm"},
    {DefectCode::kOtherOrigin, "naming the right origin"},
    {DefectCode::kUnmergedTail,
     "'snaptool repair --beyond-end COW -o NEW' keeps them, 'snaptool merge --force' drops them"},
    {DefectCode::kLeakedChunks,
     "nothing: it does no harm ('snaptool repair --compact COW -o NEW' leaves them out)"},
}};

}  // namespace

std::string_view mending_of(DefectCode code) {
  const Row& row = kRows[static_cast<size_t>(code)];
  SNAP_CHECK(row.code == code);
  return row.mending;
}

}  // namespace snaptool::cli
