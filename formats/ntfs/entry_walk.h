// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_set>

#include "formats/ntfs/folder.h"
#include "formats/ntfs/free_files.h"

namespace snaptool::ntfs {

// The id of a name that was deleted, and whose record is another file's by now: it is none.
inline constexpr uint64_t kNoRecord = 0xffffffffffff;

inline uint64_t stream_id(uint64_t record, uint16_t number) {
  return record | uint64_t{number} << 48U;
}

// What a folder's names lead to: each entry against the file that it is for.
class EntryWalk {
 public:
  using Visit = std::function<Result<void>(const access::FileEntry&)>;
  // Requires: all outlive it; if `deleted`, that `free_files` is prepared.
  EntryWalk(Volume& volume, Files& files, const FreeFiles& free_files, bool deleted,
            const Visit& visit)
      : volume_(volume), files_(files), free_files_(free_files), deleted_(deleted), visit_(visit) {}
  // Requires: it is a folder. Errors: of FileSystem::visit_entries.
  Result<void> run(const KnownFile& folder);

 private:
  Result<void> visit_live(const IndexEntry& entry);
  Result<void> visit_free(const IndexEntry& entry);
  Result<void> visit_free_record(uint64_t id);
  // Requires: what `known` points to outlives the call, whatever visit asks for.
  Result<void> give(const std::string& name, uint64_t id, const KnownFile* known, bool is_folder,
                    bool deleted);
  Result<void> give_streams(const std::string& name, const KnownFile& known, bool deleted);
  bool is_of_folder(const Reference& parent) const;
  bool is_first(uint64_t id, Bytes name);

  Volume& volume_;
  Files& files_;
  const FreeFiles& free_files_;
  const bool deleted_;
  const Visit& visit_;
  const File* folder_ = nullptr;
  Damage damage_;
  std::unordered_set<uint64_t> shown_;         // hashes of free names
  std::unordered_set<uint64_t> with_streams_;  // files whose streams were given
  size_t again_ = 0;                           // streams that were given once more
};

}  // namespace snaptool::ntfs
