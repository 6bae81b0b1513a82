// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/defect.h"

#include <tuple>

#include <algorithm>
#include <array>
#include <utility>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

struct Description {
  DefectCode code;
  std::string_view name;
  Severity severity;
  std::string_view kernel;
  std::string_view meaning;
};

// One row a code, in the order of the enum.
constexpr std::array<Description, static_cast<size_t>(DefectCode::kCount)> kDescriptions = {{
    {DefectCode::kShortFile, "short-file", Severity::kCorrupt, "refuses it (EIO)",
     "there is no store in what is left"},
    {DefectCode::kTooSmall, "too-small", Severity::kUnsafe, "refuses it (EIO)",
     "there is no store in it, and no room for one"},
    {DefectCode::kNoStore, "no-store", Severity::kUnsafe,
     "turns it into a new, empty store and wipes the first area",
     "the snapshot is empty: it shows its origin"},
    {DefectCode::kWipedHeader, "wiped-header", Severity::kCorrupt,
     "turns it into a new, empty store and wipes the first area: then the snapshot is lost",
     "the list is still there"},
    {DefectCode::kBadMagic, "bad-magic", Severity::kCorrupt, "refuses it (ENXIO)",
     "it is not a COW, or its header was overwritten"},
    {DefectCode::kBadVersion, "bad-version", Severity::kCorrupt, "refuses it (EINVAL)",
     "something else wrote its header"},
    {DefectCode::kBadChunkSize, "bad-chunk-size", Severity::kCorrupt, "refuses it (EINVAL)",
     "its header was overwritten"},
    {DefectCode::kInvalid, "invalid", Severity::kCorrupt,
     "loads it, says Invalid, and fails every read and write",
     "all that was in it then still is; what the origin was written since is missing"},
    {DefectCode::kValidNotOne, "valid-not-one", Severity::kHarmless, "takes it as valid",
     "nothing"},
    {DefectCode::kMissingArea, "missing-area", Severity::kCorrupt, "refuses it (EIO)",
     "the COW was cut short: the rest is lost"},
    {DefectCode::kOldBeyondOrigin, "old-beyond-origin", Severity::kCorrupt,
     "loads it and never shows the entry; a merge stops at it for good (Merge failed)",
     "the COW belongs to another origin, the origin was cut short, or the entry was overwritten"},
    {DefectCode::kNewBeyondCow, "new-beyond-cow", Severity::kCorrupt,
     "loads it; reading that chunk fails (EIO), and no further chunk can be allocated",
     "the content of this chunk is lost"},
    {DefectCode::kNewIsMetadata, "new-is-metadata", Severity::kCorrupt,
     "loads it and shows metadata as content; a write there destroys the list",
     "the content of this chunk is lost"},
    {DefectCode::kNewHighByte, "new-high-byte", Severity::kCorrupt,
     "loads it and takes the top byte for a run length, so that neighbouring chunks change too",
     "the entry was overwritten, and what it said is lost"},
    {DefectCode::kDuplicateOld, "duplicate-old", Severity::kCorrupt,
     "loads it; the first entry in the list wins, for reads and after a merge",
     "one of the two is not what the snapshot had there"},
    {DefectCode::kDuplicateNew, "duplicate-new", Severity::kCorrupt,
     "loads it and shows the same data in both places; a write to one changes the other",
     "one of the two shows the other's content"},
    {DefectCode::kLiveBehindTerminator, "live-behind-terminator", Severity::kUnsafe,
     "reads and merges it correctly, but revives these entries once it has appended enough",
     "nothing is lost as long as the kernel does not write to it"},
    {DefectCode::kDestroyedArea, "destroyed-area", Severity::kCorrupt,
     "loads what is there as if it were entries", "what the area said is lost"},
    {DefectCode::kDataUnreadable, "data-unreadable", Severity::kCorrupt,
     "cannot read it, and a merge stops there for good (Merge failed)",
     "the content of this chunk is lost, unless the medium gives it another time"},
    {DefectCode::kOldInTerminator, "old-in-terminator", Severity::kHarmless, "does not look at it",
     "nothing"},
    {DefectCode::kOtherOrigin, "other-origin", Severity::kUnsafe, "does not look at it",
     "the store may belong to another disk; or the disk was formatted in the snapshot"},
    {DefectCode::kUnmergedTail, "unmerged-tail", Severity::kUnsafe,
     "does not see these entries, until a writer revives them",
     "a power cut tore the last write to the snapshot; or the beginning of the list was wiped, and the snapshot shows only part of what it had"},
    {DefectCode::kLeakedChunks, "leaked-chunks", Severity::kNote, "never uses them again",
     "only space is lost"},
}};

const Description& describe(DefectCode code) {
  const Description& row = kDescriptions[static_cast<size_t>(code)];
  SNAP_CHECK(row.code == code);
  return row;
}

}  // namespace

std::string_view defect_code_name(DefectCode code) { return describe(code).name; }
Severity severity_of(DefectCode code) { return describe(code).severity; }
std::string_view kernel_view_of(DefectCode code) { return describe(code).kernel; }
std::string_view meaning_of(DefectCode code) { return describe(code).meaning; }

Advice advice_for(DefectCode code) {
  switch (code) {
    case DefectCode::kShortFile:
    case DefectCode::kTooSmall:
    case DefectCode::kMissingArea:
    case DefectCode::kNewBeyondCow:
      return {"; was it copied whole?", Remedy::kNone};
    case DefectCode::kWipedHeader:
      return {"", Remedy::kRepairStore};
    case DefectCode::kBadMagic:
      return {"; name the COW that belongs to this origin", Remedy::kNone};
    case DefectCode::kInvalid:
      return {"; the snapshot is lost", Remedy::kIgnoreInvalid};
    case DefectCode::kOldBeyondOrigin:
      return {"; is it the right origin, and whole?", Remedy::kNone};
    case DefectCode::kDuplicateOld:
      return {"", Remedy::kAcceptDuplicates};
    default:
      return {"; look for a sound copy", Remedy::kListDefects};
  }
}

Finding header_finding(DefectCode code, std::string message) {
  Finding finding;
  finding.code = code;
  finding.offset = 0;
  finding.message = std::move(message);
  return finding;
}

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kHarmless:
      return "harmless";
    case Severity::kUnsafe:
      return "unsafe";
    case Severity::kCorrupt:
      return "corrupt";
  }
  return "unknown";
}

Severity FindingLog::result() const {
  Severity worst = Severity::kNote;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) worst = std::max(worst, severity_of(static_cast<DefectCode>(i)));
  }
  return worst;
}

void FindingLog::add(Finding finding) {
  uint64_t& seen = counts[static_cast<size_t>(finding.code)];
  if (seen > 0) {
    const auto place = [](const Finding& one) { return std::tie(one.area, one.index, one.offset); };
    Finding& last_place = last.try_emplace(finding.code, finding).first->second;
    if (place(last_place) < place(finding)) last_place = finding;
  }
  if (seen++ < kKept) findings.push_back(std::move(finding));
}

}  // namespace snaptool
