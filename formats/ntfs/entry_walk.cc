// SPDX-License-Identifier: Apache-2.0
#include "formats/ntfs/entry_walk.h"

#include <fmt/format.h>

#include "formats/common/file_facts.h"
#include "formats/common/utf16.h"
#include "libsnap/base/printable.h"

namespace snaptool::ntfs {
namespace {

using access::FileEntry;
using access::NodeType;

constexpr size_t kMostShown = 65536;
constexpr size_t kMostStreamsAgain = 65536;

Bytes view_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A record that is freed counts up.
bool was_file(const Reference& reference, const File& file) {
  const auto next = static_cast<uint16_t>(reference.sequence + 1);
  return reference.sequence == file.sequence || (!file.is_used && next == file.sequence);
}

}  // namespace

Result<void> EntryWalk::run(const KnownFile& folder) {
  folder_ = folder.file.get();
  SNAP_TRY(visit_index(
      volume_, files_.reader(), *folder.file, deleted_, damage_, [&](const IndexEntry& entry) {
        return entry.deleted || !folder_->is_used ? visit_free(entry) : visit_live(entry);
      }));
  if (deleted_) {
    for (const uint64_t id : free_files_.in_folder(folder_->id)) {
      SNAP_TRY(volume_.pages().poll());
      SNAP_TRY(visit_free_record(id));
    }
  }
  // Of a free folder there may be anything.
  return folder_->is_used ? damage_.result() : Result<void>();
}

Result<void> EntryWalk::visit_live(const IndexEntry& entry) {
  const std::string name = wtf8_of_utf16(entry.name.name);
  if (name == "." && entry.file.id == folder_->id) return {};  // the root has itself
  const auto bad = [&](std::string_view why) {
    damage_.add(
        fmt::format("entry '{}' of folder {} {}", excerpt(name, kMostOfName), folder_->id, why));
    return Result<void>();
  };
  if (!is_sound_name(name)) return bad("has an impossible name");
  const auto known = files_.get(entry.file.id);
  if (!known) {
    const bool is_damaged = known.error().code() == ErrorCode::kCorruption;
    if (!is_damaged && known.error().code() != ErrorCode::kNotFound) return known.error();
    if (!is_damaged) return bad("leads to a record that is no file's");
    damage_.add(known.error());
    if (entry.name.space == kDosName) return {};
    return give(name, entry.file.id, nullptr, entry.name.is_folder, false);
  }
  const File& file = *(*known)->file;
  if (!file.is_used || file.sequence != entry.file.sequence) {
    SNAP_TRY(
        bad(file.is_used ? "leads to another file's record by now" : "leads to a free record"));
    return visit_free(entry);
  }
  if (entry.name.space == kDosName && (*known)->has_windows_name(folder_->id)) return {};
  return give(name, entry.file.id, known->get(), false, false);
}

// An entry, in use or not, of what is no more.
Result<void> EntryWalk::visit_free(const IndexEntry& entry) {
  if (!deleted_ || !is_of_folder(entry.name.parent)) return {};
  const std::string name = wtf8_of_utf16(entry.name.name);
  if (!is_sound_name(name)) return {};
  const auto known = files_.get(entry.file.id);
  if (!known) {
    SNAP_TRY(Damage().note(known.error().code() == ErrorCode::kNotFound
                               ? Result<void>()
                               : Result<void>(known.error())));
  }
  const bool is_its_own = known && was_file(entry.file, *(*known)->file);
  if (entry.name.space == kDosName && (!is_its_own || (*known)->has_windows_name(folder_->id))) {
    return {};
  }
  if (!is_its_own) {
    if (!is_first(kNoRecord, entry.name.name)) return {};
    return give(name, kNoRecord, nullptr, entry.name.is_folder, true);
  }
  // Copies of what is in use, which was moved within the index.
  const File& file = *(*known)->file;
  if (file.is_used && folder_->is_used && (*known)->has_name(folder_->id, entry.name.name)) {
    return {};
  }
  if (!is_first(file.id, entry.name.name)) return {};
  return give(name, file.id, known->get(), false, true);
}

Result<void> EntryWalk::visit_free_record(uint64_t id) {
  const auto known = files_.get(id);
  if (!known && known.error().code() != ErrorCode::kNotFound) {
    return Damage().note(known.error());
  }
  if (!known || (*known)->file->is_used) return {};
  for (const NameOfFile& one : (*known)->names) {
    if (!is_of_folder(one.parent)) continue;
    if (one.space == kDosName && (*known)->has_windows_name(folder_->id)) continue;
    const std::string name = wtf8_of_utf16(view_of(one.raw));
    if (!is_sound_name(name) || !is_first(id, view_of(one.raw))) continue;
    SNAP_TRY(give(name, id, known->get(), false, true));
  }
  return {};
}

bool EntryWalk::is_of_folder(const Reference& parent) const {
  return parent.id == folder_->id && was_file(parent, *folder_);
}

// Not once more, as far as it is remembered.
bool EntryWalk::is_first(uint64_t id, Bytes name) {
  const uint64_t hash = bytes_sum(name, id);
  if (shown_.contains(hash)) return false;
  if (shown_.size() < kMostShown) shown_.insert(hash);
  return true;
}

Result<void> EntryWalk::give(const std::string& name, uint64_t id, const KnownFile* known,
                             bool is_folder, bool deleted) {
  FileEntry entry;
  entry.name = name;
  entry.id = id;
  entry.type = is_folder ? NodeType::kFolder : NodeType::kFile;
  if (known != nullptr) entry.type = known->type;
  entry.deleted = deleted;
  SNAP_TRY(visit_(entry));
  return known != nullptr ? give_streams(name, *known, deleted) : Result<void>();
}

Result<void> EntryWalk::give_streams(const std::string& name, const KnownFile& known,
                                     bool deleted) {
  if (known.has_bad_stream_name) {
    damage_.add(fmt::format("record {} has a stream with an impossible name", known.file->id));
  }
  if (known.alternates.empty()) return {};
  const bool is_first_time =
      with_streams_.size() < kMostShown && with_streams_.insert(known.file->id).second;
  for (const Alternate& one : known.alternates) {
    // A file with many streams and many names would have their product.
    if (!is_first_time && ++again_ > kMostStreamsAgain) {
      damage_.add(
          fmt::format("the files of folder {} have too many names and streams", folder_->id));
      return {};
    }
    FileEntry entry;
    entry.name = name + ":" + one.name;
    entry.id = stream_id(known.file->id, one.number);
    entry.type = NodeType::kFile;
    entry.deleted = deleted;
    SNAP_TRY(visit_(entry));
  }
  return {};
}

}  // namespace snaptool::ntfs
