// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/diff_files.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <unordered_set>
#include <utility>

#include "libsnap/ops/change_teller.h"
#include "libsnap/ops/file_judge.h"
#include "libsnap/ops/match_files.h"
#include "libsnap/ops/touched_files.h"

namespace snaptool::ops {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileSystem;
using access::NodeType;

// Files that are gone or new, kept to be found to be renamed ones where only content tells.
constexpr size_t kMostLone = 65536;

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

// One of the two states, and what is kept of it on the way.
struct Side : FileState {
  using FileState::FileState;

  std::unordered_set<uint64_t> entered;  // folders
  std::vector<NamedFile> lone;           // that may be found in the other state
  std::vector<NamedFile> folders;        // that are no more or new, to be looked into
};

struct FolderPair {
  NamedFile before;
  NamedFile after;
};

// Walks through both states, and finds which file is which.
class FileComparison {
 public:
  FileComparison(FileSystem& before, FileSystem& after, const FileDiffOptions& options,
                 const FileDiffVisitor& visitor, const Job& job)
      : changed_(options.changed != nullptr ? *options.changed : nothing_),
        before_(before, changed_, false),
        after_(after, changed_, true),
        options_(options),
        job_(job),
        judge_(before, after, options.full ? nullptr : options.changed, problems_, job),
        teller_(before_, after_, options, visitor, judge_, problems_) {}

  Result<FileDiffSummary> run();

 private:
  Result<void> decide();
  Result<void> find_touched_files();

  // Folder by folder.
  Result<void> begin();
  Result<void> walk();
  Result<void> compare_folders(const FolderPair& pair);
  Result<void> pass_folder(const FolderPair& pair);
  Result<void> merge_folders(const FolderPair& pair);
  Result<std::vector<FileEntry>> entries_of(Side& side, const NamedFile& folder);
  Result<void> look_into(Side& side, const NamedFile& folder);
  bool is_done() const {
    return ahead_.empty() && before_.folders.empty() && after_.folders.empty();
  }

  // Files of one place.
  Result<void> pair_entries(const FolderPair& pair, const FileEntry& before,
                            const FileEntry& after);
  Result<void> pair_others(NamedFile before, NamedFile after);
  Result<void> pair_nodes(NamedFile before, NamedFile after, FileChangeKind kind);
  Result<std::optional<FileNode>> node_of(Side& side, uint64_t id, const std::string& path);
  bool is_same_file(const FileNode& before, const FileNode& after) const;
  Result<bool> lives_in(Side& side, const FileNode& node);
  bool enters(Side& side, const NamedFile& folder);

  // Files without a counterpart in their place.
  Result<void> add_lone(Side& side, const NamedFile& folder, const FileEntry& entry);
  Result<void> add_lone(Side& side, NamedFile file);
  Result<void> match_by_id();
  Result<void> take_same(FileMatches matches);
  Result<bool> took_number(const NamedFile& before, const NamedFile& after);
  Result<void> match_by_content();
  Result<void> take(FileMatches matches);
  Result<void> tell_lone(Side& side, const NamedFile& file);
  Result<void> tell_all_lone(std::vector<NamedFile> before, std::vector<NamedFile> after);
  Result<void> tell_rest();

  Side& other(const Side& side) { return side.is_after ? before_ : after_; }
  // Where nothing else is known, all is looked at.
  bool is_touched(uint64_t id) const { return !by_touch_ || touched_.contains(id); }
  Result<void> poll() const {
    if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    return {};
  }

  const ChangedRanges nothing_;
  const ChangedRanges& changed_;
  Side before_;
  Side after_;
  const FileDiffOptions& options_;
  const Job& job_;
  Problems problems_;
  FileJudge judge_;
  ChangeTeller teller_;
  bool same_system_ = false;  // they are two states of one
  bool by_id_ = false;        // and its nodes have stable numbers
  bool by_touch_ = false;     // only what the ranges touch is looked at
  IdSet touched_;
  std::unordered_set<uint64_t> stayed_;  // files that have a name in both states
  std::unordered_set<uint64_t> reused_;  // numbers that another file took
  std::vector<FolderPair> ahead_;
};

Result<FileDiffSummary> FileComparison::run() {
  SNAP_TRY(decide());
  if (by_touch_) SNAP_TRY(find_touched_files());
  SNAP_TRY(begin());
  do {
    SNAP_TRY(walk());
    SNAP_TRY(by_id_ ? match_by_id() : match_by_content());
  } while (!is_done());
  SNAP_TRY(tell_rest());
  if (options_.changed != nullptr) SNAP_TRY(teller_.tell_pieces(changed_, job_.cancel));
  FileDiffSummary summary;
  summary.changes = teller_.changes();
  summary.problems = std::move(problems_.kept());
  summary.problem_count = problems_.count();
  return summary;
}

Result<void> FileComparison::decide() {
  same_system_ =
      before_.files.type() == after_.files.type() && before_.files.uuid() == after_.files.uuid();
  by_id_ = same_system_ && before_.files.has_stable_ids() && after_.files.has_stable_ids();
  if (!by_id_ || options_.changed == nullptr || options_.full) return {};
  SNAP_ASSIGN(const uint64_t was, before_.files.layout_sum());
  SNAP_ASSIGN(const uint64_t is, after_.files.layout_sum());
  by_touch_ = was == is;
  return {};
}

Result<void> FileComparison::find_touched_files() {
  SNAP_ASSIGN(touched_, find_touched(changed_, {before_.files, before_.owners},
                                     {after_.files, after_.owners}, problems_, job_.cancel));
  teller_.set_owners_known();
  return {};
}

Result<void> FileComparison::begin() {
  SNAP_ASSIGN(FileNode before, before_.files.node(before_.files.root()));
  SNAP_ASSIGN(FileNode after, after_.files.node(after_.files.root()));
  return pair_nodes({"", std::move(before)}, {"", std::move(after)}, FileChangeKind::kChanged);
}

Result<void> FileComparison::walk() {
  while (!is_done()) {
    SNAP_TRY(poll());
    if (!ahead_.empty()) {
      const FolderPair next = std::move(ahead_.back());
      ahead_.pop_back();
      SNAP_TRY(compare_folders(next));
      continue;
    }
    Side& side = before_.folders.empty() ? after_ : before_;
    const NamedFile next = std::move(side.folders.back());
    side.folders.pop_back();
    SNAP_TRY(look_into(side, next));
  }
  return {};
}

Result<void> FileComparison::compare_folders(const FolderPair& pair) {
  const bool same = pair.before.node.id == pair.after.node.id && !is_touched(pair.before.node.id);
  return same ? pass_folder(pair) : merge_folders(pair);
}

// Of a folder whose names did not change, unless one of its files has other streams.
Result<void> FileComparison::pass_folder(const FolderPair& pair) {
  std::vector<FileEntry> folders;
  bool any = false;
  const Error enough(ErrorCode::kInvalidArgument, "enough");
  const auto visited = before_.files.visit_entries(
      pair.before.node, false, [&](const FileEntry& entry) -> Result<void> {
        SNAP_TRY(poll());
        if (entry.deleted) return {};
        any = any || touched_.contains(entry.id);
        if (any) return enough;
        const bool may_hold = entry.type == NodeType::kFolder || entry.type == NodeType::kOther;
        if (may_hold) folders.push_back(entry);
        return {};
      });
  if (any) return merge_folders(pair);
  SNAP_TRY(problems_.note(pair.before.path, visited));
  for (const FileEntry& folder : folders) SNAP_TRY(pair_entries(pair, folder, folder));
  return {};
}

Result<void> FileComparison::merge_folders(const FolderPair& pair) {
  SNAP_ASSIGN(const std::vector<FileEntry> was, entries_of(before_, pair.before));
  SNAP_ASSIGN(const std::vector<FileEntry> is, entries_of(after_, pair.after));
  auto old = was.begin();
  auto now = is.begin();
  while (old != was.end() || now != is.end()) {
    SNAP_TRY(poll());
    if (now == is.end() || (old != was.end() && old->name < now->name)) {
      SNAP_TRY(add_lone(before_, pair.before, *old++));
    } else if (old == was.end() || now->name < old->name) {
      SNAP_TRY(add_lone(after_, pair.after, *now++));
    } else {
      SNAP_TRY(pair_entries(pair, *old++, *now++));
    }
  }
  return {};
}

// In order of their names.
Result<std::vector<FileEntry>> FileComparison::entries_of(Side& side, const NamedFile& folder) {
  std::vector<FileEntry> entries;
  const auto visited =
      side.files.visit_entries(folder.node, false, [&](const FileEntry& entry) -> Result<void> {
        if (!entry.deleted) entries.push_back(entry);
        return {};
      });
  SNAP_TRY(problems_.note(folder.path, visited));
  std::stable_sort(entries.begin(), entries.end(),
                   [](const FileEntry& a, const FileEntry& b) { return a.name < b.name; });
  return entries;
}

// Of a folder that is in one state only.
Result<void> FileComparison::look_into(Side& side, const NamedFile& folder) {
  const auto visited =
      side.files.visit_entries(folder.node, false, [&](const FileEntry& entry) -> Result<void> {
        SNAP_TRY(poll());
        return entry.deleted ? Result<void>() : add_lone(side, folder, entry);
      });
  return problems_.note(folder.path, visited);
}

Result<void> FileComparison::pair_entries(const FolderPair& pair, const FileEntry& before,
                                          const FileEntry& after) {
  const bool may_hold = before.type == NodeType::kFolder || before.type == NodeType::kOther;
  if (before.id == after.id && !may_hold && !is_touched(before.id)) return {};
  const std::string old_path = join(pair.before.path, before.name);
  const std::string new_path = join(pair.after.path, after.name);
  SNAP_ASSIGN(const auto was, node_of(before_, before.id, old_path));
  SNAP_ASSIGN(const auto is, node_of(after_, after.id, new_path));
  if (!was || !is || was->internal || is->internal) return {};
  if (was->deleted || is->deleted) {
    if (!was->deleted) SNAP_TRY(add_lone(before_, {old_path, *was}));
    return is->deleted ? Result<void>() : add_lone(after_, {new_path, *is});
  }
  if (is_same_file(*was, *is)) {
    return pair_nodes({old_path, *was}, {new_path, *is}, FileChangeKind::kChanged);
  }
  return pair_others({old_path, *was}, {new_path, *is});
}

// Two files that follow one another in a place. One that took the place of another, as editors and
// package managers do it, is one change.
Result<void> FileComparison::pair_others(NamedFile before, NamedFile after) {
  if (by_id_ && before.node.type == after.node.type && before.node.type != NodeType::kFolder) {
    SNAP_ASSIGN(const bool stays, lives_in(after_, before.node));
    SNAP_ASSIGN(const bool was, lives_in(before_, after.node));
    if (!stays && !was) {
      return pair_nodes(std::move(before), std::move(after), FileChangeKind::kChanged);
    }
  }
  SNAP_TRY(add_lone(before_, std::move(before)));
  return add_lone(after_, std::move(after));
}

// `kind`: what it is unless its content is another.
Result<void> FileComparison::pair_nodes(NamedFile before, NamedFile after, FileChangeKind kind) {
  const bool same_file = !by_id_ || is_same_file(before.node, after.node);
  if (kind == FileChangeKind::kChanged && before.node.links > 1) stayed_.insert(before.node.id);
  SNAP_TRY(teller_.tell_pair(before, after, kind, same_file));
  if (before.node.type != NodeType::kFolder) return {};
  const bool first = enters(before_, before);
  if (enters(after_, after) && first) ahead_.push_back({std::move(before), std::move(after)});
  return {};
}

// Nothing where it cannot be read, which is told of.
Result<std::optional<FileNode>> FileComparison::node_of(Side& side, uint64_t id,
                                                        const std::string& path) {
  auto node = side.files.node(id);
  if (node) return std::optional(*std::move(node));
  SNAP_TRY(problems_.note(path, std::move(node).error()));
  return std::optional<FileNode>();
}

bool FileComparison::is_same_file(const FileNode& before, const FileNode& after) const {
  return before.type == after.type &&
         (!by_id_ || (before.id == after.id && before.generation == after.generation));
}

Result<bool> FileComparison::lives_in(Side& side, const FileNode& node) {
  const auto there = side.files.node(node.id);
  // What has no name is there until whoever has it open closes it.
  if (there) return !there->deleted && there->links > 0 && is_same_file(*there, node);
  if (there.error().code() == ErrorCode::kInterrupted) return there.error();
  return false;
}

bool FileComparison::enters(Side& side, const NamedFile& folder) {
  if (side.entered.insert(folder.node.id).second) return true;
  problems_.add(folder.path, Error(ErrorCode::kCorruption, "it is a folder that has two names"));
  return false;
}

Result<void> FileComparison::add_lone(Side& side, const NamedFile& folder, const FileEntry& entry) {
  std::string path = join(folder.path, entry.name);
  SNAP_ASSIGN(auto node, node_of(side, entry.id, path));
  if (!node || node->deleted || node->internal) return {};
  return add_lone(side, {std::move(path), *std::move(node)});
}

Result<void> FileComparison::add_lone(Side& side, NamedFile file) {
  bool may_match =
      side.lone.size() < kMostLone && (file.node.type == NodeType::kFolder || file.node.size > 0);
  if (by_id_) {
    SNAP_ASSIGN(may_match, lives_in(other(side), file.node));
  }
  if (!may_match) return tell_lone(side, file);
  side.lone.push_back(std::move(file));
  return {};
}

// Folders or the others, in order of their paths.
std::vector<NamedFile> take_lone(Side& side, bool folders) {
  const auto first = std::stable_partition(
      side.lone.begin(), side.lone.end(),
      [&](const NamedFile& file) { return (file.node.type == NodeType::kFolder) != folders; });
  std::vector<NamedFile> taken(std::make_move_iterator(first),
                               std::make_move_iterator(side.lone.end()));
  side.lone.erase(first, side.lone.end());
  std::sort(taken.begin(), taken.end(),
            [](const NamedFile& a, const NamedFile& b) { return a.path < b.path; });
  return taken;
}

// Folders as soon as they are found, since what is in them is found then; of files, when all names
// are known, the first gone one goes with the first new one.
Result<void> FileComparison::match_by_id() {
  SNAP_TRY(take(ops::match_by_id(take_lone(before_, true), take_lone(after_, true))));
  if (!ahead_.empty()) return {};
  // Nothing more will be found: a folder whose other name is not reached is as good as none.
  SNAP_TRY(tell_all_lone(take_lone(before_, true), take_lone(after_, true)));
  if (!is_done()) return {};
  return take_same(ops::match_by_id(take_lone(before_, false), take_lone(after_, false)));
}

// Whether a new file has the number of one that is gone, and its generation: what writes images
// without the kernel does not count that up. No name is left, so there is the content, and when it
// was made; without that, its size.
Result<bool> FileComparison::took_number(const NamedFile& before, const NamedFile& after) {
  const FileNode& was = before.node;
  const FileNode& is = after.node;
  if (reused_.contains(was.id)) return true;
  if (stayed_.contains(was.id)) return false;
  const bool know_when = was.created && is.created;
  if (know_when ? was.created == is.created : was.size == is.size) return false;
  FileChange change;
  change.before.emplace().path = before.path;
  change.before->node = was;
  change.after.emplace().path = after.path;
  change.after->node = is;
  SNAP_TRY(judge_.compare(change));
  return std::any_of(change.fields.begin(), change.fields.end(), [](FileField field) {
    return field == FileField::kContent || field == FileField::kTarget;
  });
}

// Files that have one number: each pair is one that was renamed, or one that is gone and a new one.
Result<void> FileComparison::take_same(FileMatches matches) {
  FileMatches same;
  std::vector<NamedFile> gone;
  std::vector<NamedFile> made;
  for (auto& [before, after] : matches.pairs) {
    SNAP_ASSIGN(const bool is_other, took_number(before, after));
    if (is_other) {
      reused_.insert(before.node.id);
      gone.push_back(std::move(before));
      made.push_back(std::move(after));
    } else {
      same.pairs.emplace_back(std::move(before), std::move(after));
    }
  }
  const auto sort_out = [&](std::vector<NamedFile>& files, std::vector<NamedFile>& others,
                            std::vector<NamedFile>& rest) {
    for (NamedFile& file : files) {
      (reused_.contains(file.node.id) ? others : rest).push_back(std::move(file));
    }
  };
  sort_out(matches.before, gone, same.before);
  sort_out(matches.after, made, same.after);
  SNAP_TRY(tell_all_lone(std::move(gone), std::move(made)));
  return take(std::move(same));
}

// A folder that was moved still begins where it did; of files, only content tells.
Result<void> FileComparison::match_by_content() {
  FileMatches folders;
  folders.before = take_lone(before_, true);
  folders.after = take_lone(after_, true);
  if (same_system_) {
    folders = match_by_place(before_.files, std::move(folders.before), after_.files,
                             std::move(folders.after));
  }
  SNAP_TRY(tell_all_lone(std::exchange(folders.before, {}), std::exchange(folders.after, {})));
  SNAP_TRY(take(std::move(folders)));
  if (!is_done()) return {};
  SNAP_ASSIGN(FileMatches files,
              ops::match_by_content(judge_, take_lone(before_, false), take_lone(after_, false)));
  return take(std::move(files));
}

Result<void> FileComparison::take(FileMatches matches) {
  for (auto& [before, after] : matches.pairs) {
    SNAP_TRY(pair_nodes(std::move(before), std::move(after), FileChangeKind::kRenamed));
  }
  std::move(matches.before.begin(), matches.before.end(), std::back_inserter(before_.lone));
  std::move(matches.after.begin(), matches.after.end(), std::back_inserter(after_.lone));
  return {};
}

Result<void> FileComparison::tell_lone(Side& side, const NamedFile& file) {
  SNAP_TRY(teller_.tell_lone(side, file,
                             side.is_after ? FileChangeKind::kCreated : FileChangeKind::kDeleted));
  if (file.node.type == NodeType::kFolder && enters(side, file)) side.folders.push_back(file);
  return {};
}

Result<void> FileComparison::tell_all_lone(std::vector<NamedFile> before,
                                           std::vector<NamedFile> after) {
  for (const NamedFile& file : before) SNAP_TRY(tell_lone(before_, file));
  for (const NamedFile& file : after) SNAP_TRY(tell_lone(after_, file));
  return {};
}

// Where there are numbers, these are names of files that have others in both states.
Result<void> FileComparison::tell_rest() {
  for (Side* const side : {&before_, &after_}) {
    const FileChangeKind kind =
        side->is_after ? FileChangeKind::kLinked : FileChangeKind::kUnlinked;
    for (const NamedFile& file : side->lone) {
      SNAP_TRY(by_id_ ? teller_.tell_lone(*side, file, kind) : tell_lone(*side, file));
    }
  }
  return {};
}

}  // namespace

bool FileDiffSummary::equal() const {
  return std::accumulate(changes.begin(), changes.end(), uint64_t{0}) == 0;
}

Result<FileDiffSummary> diff_files(FileSystem& before, FileSystem& after,
                                   const FileDiffOptions& options, const FileDiffVisitor& visitor,
                                   const Job& job) {
  return FileComparison(before, after, options, visitor, job).run();
}

}  // namespace snaptool::ops
