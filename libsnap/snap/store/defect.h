// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/base/error.h"

namespace snaptool {

enum class Severity {
  kNote,      // worth knowing, nothing wrong
  kHarmless,  // odd, but neither snaptool nor the kernel loses anything by it
  kUnsafe,    // read and merged as it is, but the kernel must not write to it
  kCorrupt,   // data are lost or wrong, or nobody can say which are right
};

// What can be wrong with a store. The names (defect_code_name) are stable: scripts match on them.
enum class DefectCode {
  kShortFile,        // ends before the 16 bytes of the header, or before the first chunk
  kTooSmall,         // zeros, and fewer than a new store needs
  kNoStore,          // magic 0, zeros where a list would be: the kernel makes a new store of it
  kWipedHeader,      // magic 0, but there is a list, which the kernel would wipe
  kBadMagic,         // neither 0 nor "SnAp"
  kBadVersion,       // not 1
  kBadChunkSize,     // 0, not a power of two, or above 1 GiB
  kInvalid,          // valid is 0: overflowed, or a write failed
  kValidNotOne,      // valid is neither 0 nor 1
  kMissingArea,      // an area that must exist lies beyond the end of the COW
  kOldBeyondOrigin,  // an entry for a chunk that the origin does not have
  kNewBeyondCow,     // an entry whose data lie beyond the end of the COW
  kNewIsMetadata,    // an entry whose data chunk is the header or an area
  kNewHighByte,      // new chunk of 2^56 or more
  kDuplicateOld,     // a second entry for an origin chunk
  kDuplicateNew,     // a second entry for a data chunk
  kLiveBehindTerminator,  // entries behind the end of the list, which a later write would revive
  kDestroyedArea,         // an area most of whose entries cannot be
  kDataUnreadable,        // a data chunk that cannot be read
  kOldInTerminator,       // the entry that ends the list has an old chunk
  kOtherOrigin,           // a UUID that the origin bears is another in the view
  kUnmergedTail,          // entries behind the terminator whose data the origin does not have
  kLeakedChunks,          // data chunks that no entry names, before the last that one does
  kCount,
};

std::string_view defect_code_name(DefectCode code);
std::string_view severity_name(Severity severity);
Severity severity_of(DefectCode code);
// What the kernel (6.1) does with it, in a sentence.
std::string_view kernel_view_of(DefectCode code);
// What it means for the user: a phrase.
std::string_view meaning_of(DefectCode code);
// What one who wants to use the store can do about it: the end of a sentence, and a remedy.
struct Advice {
  std::string_view text;
  Remedy remedy = Remedy::kNone;
};
Advice advice_for(DefectCode code);

// One defect, where it is, and what it means.
struct Finding {
  DefectCode code = DefectCode::kNoStore;
  std::optional<uint64_t> area;
  std::optional<uint64_t> index;  // of the entry in its area
  std::optional<uint64_t> old_chunk;
  std::optional<uint64_t> new_chunk;
  std::optional<uint64_t> offset;  // bytes into the COW
  std::string message;
  bool is_disk = false;  // it is a plain disk that was taken for a COW
};

// One of the header, at byte 0.
Finding header_finding(DefectCode code, std::string message);

// Defects that were found. Of each code the first kKept are kept, and the last; `counts` has them
// all.
struct FindingLog {
  static constexpr size_t kKept = 100;

  std::vector<Finding> findings;
  std::map<DefectCode, Finding> last;  // where there is more than one
  std::array<uint64_t, static_cast<size_t>(DefectCode::kCount)> counts{};

  uint64_t count(DefectCode code) const { return counts[static_cast<size_t>(code)]; }
  // The worst severity there is; kNote when nothing was found.
  Severity result() const;
  void add(Finding finding);
};

}  // namespace snaptool
