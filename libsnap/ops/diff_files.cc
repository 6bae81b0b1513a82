// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/diff_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "libsnap/ops/file_judge.h"
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

// A file of one state that has no counterpart in its place.
struct Lone {
  std::string path;
  FileNode node;
};

FileVersion version_of(const Lone& file) {
  FileVersion version;
  version.path = file.path;
  version.node = file.node;
  return version;
}

// One of the two states.
struct State {
  State(FileSystem& system, const ChangedRanges& changed, bool later)
      : files(system), owners(system, changed), is_after(later) {}

  FileSystem& files;
  Owners owners;
  const bool is_after;
  std::unordered_set<uint64_t> entered;             // folders
  std::unordered_map<uint64_t, std::string> names;  // of owners
  std::vector<Lone> lone;                           // that may be found in the other state
  std::vector<Lone> folders;                        // that are no more or new, to be looked into
};

struct FolderPair {
  Lone before;
  Lone after;
};

class FileComparison {
 public:
  FileComparison(FileSystem& before, FileSystem& after, const FileDiffOptions& options,
                 const FileDiffVisitor& visitor, const Job& job)
      : changed_(options.changed != nullptr ? *options.changed : nothing_),
        before_(before, changed_, false),
        after_(after, changed_, true),
        options_(options),
        visitor_(visitor),
        job_(job),
        judge_(before, after, options.full ? nullptr : options.changed, problems_, job) {}

  Result<FileDiffSummary> run() {
    SNAP_TRY(decide());
    if (by_touch_) {
      SNAP_ASSIGN(touched_, find_touched(changed_, {before_.files, before_.owners},
                                         {after_.files, after_.owners}, problems_, job_.cancel));
    }
    SNAP_TRY(begin());
    do {
      SNAP_TRY(walk());
      SNAP_TRY(by_id_ ? match_by_id() : match_by_content());
    } while (!ahead_.empty() || !before_.folders.empty() || !after_.folders.empty());
    SNAP_TRY(report_rest());
    if (options_.changed != nullptr) SNAP_TRY(tell_pieces());
    summary_.problems = std::move(problems_.kept());
    summary_.problem_count = problems_.count();
    return std::move(summary_);
  }

 private:
  Result<void> decide();
  Result<void> begin();
  Result<void> walk();
  Result<void> compare_folders(const FolderPair& pair);
  Result<void> pass_folder(const FolderPair& pair);
  Result<void> merge_folders(const FolderPair& pair);
  Result<std::vector<FileEntry>> entries_of(State& state, const Lone& folder);
  Result<void> pair_entries(const FolderPair& pair, const FileEntry& before,
                            const FileEntry& after);
  Result<void> pair_others(Lone before, Lone after);
  Result<void> pair_nodes(Lone before, Lone after, FileChangeKind kind);
  Result<void> look_into(State& state, const Lone& folder);
  Result<void> add_lone(State& state, const Lone& folder, const FileEntry& entry);
  Result<void> add_lone(State& state, Lone file);
  Result<std::optional<FileNode>> node_of(State& state, uint64_t id, const std::string& path);
  bool is_same_file(const FileNode& before, const FileNode& after) const;
  Result<bool> lives_in(State& state, const FileNode& node);
  bool enters(State& state, const Lone& folder);

  Result<void> match_by_id();
  Result<void> match_by_id(bool folders);
  static std::vector<Lone> take_lone(State& state, bool folders);
  using Key = std::tuple<NodeType, uint64_t, std::string, std::string>;
  Result<Key> key_of(State& state, const Lone& file);
  Result<void> match_by_content();
  Result<void> match_folders_by_place();
  Result<void> report_rest();

  Result<void> note(State& state, const Lone& file);
  Result<void> report_lone(State& state, const Lone& file);
  Result<void> report_lone_as(State& state, const Lone& file, FileChangeKind kind);
  Result<void> report(const FileChange& change);
  Result<void> tell_pieces();
  State& other(const State& state) { return state.is_after ? before_ : after_; }

  // Where nothing else is known, all is looked at.
  bool is_touched(uint64_t id) const { return !by_touch_ || touched_.contains(id); }
  Result<void> poll() const {
    if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    return {};
  }

  const ChangedRanges nothing_;
  const ChangedRanges& changed_;
  State before_;
  State after_;
  const FileDiffOptions& options_;
  const FileDiffVisitor& visitor_;
  const Job& job_;
  Problems problems_;
  FileJudge judge_;
  FileDiffSummary summary_;
  bool by_id_ = false;     // nodes have stable numbers
  bool by_touch_ = false;  // only what the ranges touch is looked at
  IdSet touched_;
  std::vector<FolderPair> ahead_;
};

Result<void> FileComparison::decide() {
  by_id_ = before_.files.has_stable_ids() && after_.files.has_stable_ids() &&
           before_.files.type() == after_.files.type();
  if (!by_id_ || options_.changed == nullptr || options_.full) return {};
  SNAP_ASSIGN(const uint64_t was, before_.files.layout_sum());
  SNAP_ASSIGN(const uint64_t is, after_.files.layout_sum());
  by_touch_ = was == is;
  return {};
}

Result<void> FileComparison::begin() {
  SNAP_ASSIGN(FileNode before, before_.files.node(before_.files.root()));
  SNAP_ASSIGN(FileNode after, after_.files.node(after_.files.root()));
  return pair_nodes({"", std::move(before)}, {"", std::move(after)}, FileChangeKind::kChanged);
}

Result<void> FileComparison::walk() {
  while (!ahead_.empty() || !before_.folders.empty() || !after_.folders.empty()) {
    SNAP_TRY(poll());
    if (!ahead_.empty()) {
      const FolderPair next = std::move(ahead_.back());
      ahead_.pop_back();
      SNAP_TRY(compare_folders(next));
      continue;
    }
    State& state = before_.folders.empty() ? after_ : before_;
    const Lone next = std::move(state.folders.back());
    state.folders.pop_back();
    SNAP_TRY(look_into(state, next));
  }
  return {};
}

Result<void> FileComparison::compare_folders(const FolderPair& pair) {
  const bool same = by_touch_ && pair.before.node.id == pair.after.node.id &&
                    !touched_.contains(pair.before.node.id);
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
Result<std::vector<FileEntry>> FileComparison::entries_of(State& state, const Lone& folder) {
  std::vector<FileEntry> entries;
  const auto visited =
      state.files.visit_entries(folder.node, false, [&](const FileEntry& entry) -> Result<void> {
        if (!entry.deleted) entries.push_back(entry);
        return {};
      });
  SNAP_TRY(problems_.note(folder.path, visited));
  std::stable_sort(entries.begin(), entries.end(),
                   [](const FileEntry& a, const FileEntry& b) { return a.name < b.name; });
  return entries;
}

// Nothing where it cannot be read, which is told of.
Result<std::optional<FileNode>> FileComparison::node_of(State& state, uint64_t id,
                                                        const std::string& path) {
  auto node = state.files.node(id);
  if (node) return std::optional(*std::move(node));
  SNAP_TRY(problems_.note(path, std::move(node).error()));
  return std::optional<FileNode>();
}

Result<void> FileComparison::pair_entries(const FolderPair& pair, const FileEntry& before,
                                          const FileEntry& after) {
  const bool may_hold = before.type == NodeType::kFolder || before.type == NodeType::kOther;
  if (by_touch_ && before.id == after.id && !may_hold && !touched_.contains(before.id)) return {};
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

bool FileComparison::is_same_file(const FileNode& before, const FileNode& after) const {
  return before.type == after.type &&
         (!by_id_ || (before.id == after.id && before.generation == after.generation));
}

// Two files that follow one another in a place. One that took the place of another, as editors and
// package managers do it, is one change.
Result<void> FileComparison::pair_others(Lone before, Lone after) {
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

Result<bool> FileComparison::lives_in(State& state, const FileNode& node) {
  const auto there = state.files.node(node.id);
  // What has no name is there until whoever has it open closes it.
  if (there) return !there->deleted && there->links > 0 && is_same_file(*there, node);
  if (there.error().code() == ErrorCode::kInterrupted) return there.error();
  return false;
}

// `kind`: what it is unless its content is another.
Result<void> FileComparison::pair_nodes(Lone before, Lone after, FileChangeKind kind) {
  SNAP_TRY(note(before_, before));
  SNAP_TRY(note(after_, after));
  FileChange change;
  change.kind = kind;
  if (kind == FileChangeKind::kRenamed) change.fields.push_back(FileField::kName);
  if (by_id_ && !is_same_file(before.node, after.node)) change.fields.push_back(FileField::kInode);
  change.before = version_of(before);
  change.after = version_of(after);
  SNAP_TRY(judge_.compare(change));
  const auto has = [&](FileField field) {
    return std::find(change.fields.begin(), change.fields.end(), field) != change.fields.end();
  };
  if (kind == FileChangeKind::kChanged && (has(FileField::kContent) || has(FileField::kTarget))) {
    change.kind = FileChangeKind::kModified;
  }
  if (!change.fields.empty()) {
    if (options_.runs) SNAP_TRY(judge_.add_runs(*change.before, false));
    if (options_.runs) SNAP_TRY(judge_.add_runs(*change.after, true));
    SNAP_TRY(report(change));
  }
  if (before.node.type != NodeType::kFolder) return {};
  const bool first = enters(before_, before);
  if (enters(after_, after) && first) ahead_.push_back({std::move(before), std::move(after)});
  return {};
}

bool FileComparison::enters(State& state, const Lone& folder) {
  if (state.entered.insert(folder.node.id).second) return true;
  problems_.add(folder.path, Error(ErrorCode::kCorruption, "it is a folder that has two names"));
  return false;
}

// Of a folder that is in one state only.
Result<void> FileComparison::look_into(State& state, const Lone& folder) {
  const auto visited =
      state.files.visit_entries(folder.node, false, [&](const FileEntry& entry) -> Result<void> {
        SNAP_TRY(poll());
        return entry.deleted ? Result<void>() : add_lone(state, folder, entry);
      });
  return problems_.note(folder.path, visited);
}

Result<void> FileComparison::add_lone(State& state, const Lone& folder, const FileEntry& entry) {
  std::string path = join(folder.path, entry.name);
  SNAP_ASSIGN(auto node, node_of(state, entry.id, path));
  if (!node || node->deleted || node->internal) return {};
  return add_lone(state, {std::move(path), *std::move(node)});
}

Result<void> FileComparison::add_lone(State& state, Lone file) {
  bool may_match =
      state.lone.size() < kMostLone && (file.node.type == NodeType::kFolder || file.node.size > 0);
  if (by_id_) {
    SNAP_ASSIGN(may_match, lives_in(other(state), file.node));
  }
  if (!may_match) return report_lone(state, file);
  state.lone.push_back(std::move(file));
  return {};
}

// Folders as soon as they are found, since what is in them is found then; of files, when all names
// are known, the first gone one goes with the first new one.
Result<void> FileComparison::match_by_id() {
  SNAP_TRY(match_by_id(true));
  if (!ahead_.empty()) return {};
  // Nothing more will be found: a folder whose other name is not reached is as good as none.
  for (State* const state : {&before_, &after_}) {
    for (const Lone& folder : take_lone(*state, true)) SNAP_TRY(report_lone(*state, folder));
  }
  const bool more = !ahead_.empty() || !before_.folders.empty() || !after_.folders.empty();
  return more ? Result<void>() : match_by_id(false);
}

// In order of their paths.
std::vector<Lone> FileComparison::take_lone(State& state, bool folders) {
  const auto first = std::stable_partition(
      state.lone.begin(), state.lone.end(),
      [&](const Lone& file) { return (file.node.type == NodeType::kFolder) != folders; });
  std::vector<Lone> taken(std::make_move_iterator(first),
                          std::make_move_iterator(state.lone.end()));
  state.lone.erase(first, state.lone.end());
  std::sort(taken.begin(), taken.end(),
            [](const Lone& a, const Lone& b) { return a.path < b.path; });
  return taken;
}

Result<void> FileComparison::match_by_id(bool folders) {
  std::multimap<uint64_t, Lone> gone;
  for (Lone& file : take_lone(before_, folders)) gone.emplace(file.node.id, std::move(file));
  for (Lone& file : take_lone(after_, folders)) {
    const auto same = gone.lower_bound(file.node.id);
    if (same == gone.end() || same->first != file.node.id) {
      after_.lone.push_back(std::move(file));
      continue;
    }
    Lone before = std::move(same->second);
    gone.erase(same);
    SNAP_TRY(pair_nodes(std::move(before), std::move(file), FileChangeKind::kRenamed));
  }
  for (auto& [id, file] : gone) before_.lone.push_back(std::move(file));
  return {};
}

// A folder that was moved still begins where it did.
Result<void> FileComparison::match_folders_by_place() {
  const auto place_of = [](State& state, const FileNode& node) {
    std::optional<uint64_t> place;
    const auto visited =
        state.files.visit_runs(node, [&](const access::FileRun& run) -> Result<void> {
          if (!place) place = run.place;
          return {};
        });
    return visited ? place : std::nullopt;
  };
  std::multimap<uint64_t, Lone> gone;
  for (Lone& folder : take_lone(before_, true)) {
    const auto place = place_of(before_, folder.node);
    if (place) {
      gone.emplace(*place, std::move(folder));
    } else {
      SNAP_TRY(report_lone(before_, folder));
    }
  }
  for (Lone& folder : take_lone(after_, true)) {
    const auto place = place_of(after_, folder.node);
    const auto same = place ? gone.find(*place) : gone.end();
    if (same == gone.end() || same->second.node.created != folder.node.created) {
      SNAP_TRY(report_lone(after_, folder));
      continue;
    }
    Lone before = std::move(same->second);
    gone.erase(same);
    SNAP_TRY(pair_nodes(std::move(before), std::move(folder), FileChangeKind::kRenamed));
  }
  for (const auto& [place, folder] : gone) SNAP_TRY(report_lone(before_, folder));
  return {};
}

// What a file is known by where it has no number: (type, size, sum, target).
Result<FileComparison::Key> FileComparison::key_of(State& state, const Lone& file) {
  FileVersion version = version_of(file);
  SNAP_TRY(judge_.complete(version, state.is_after));
  return Key(file.node.type, file.node.size, version.sha256, version.target);
}

Result<void> FileComparison::match_by_content() {
  SNAP_TRY(match_folders_by_place());
  if (!ahead_.empty() || !before_.folders.empty() || !after_.folders.empty()) return {};
  std::vector<Lone> was = take_lone(before_, false);
  std::vector<Lone> is = take_lone(after_, false);
  const auto sizes_of = [](const std::vector<Lone>& files) {
    std::unordered_set<uint64_t> sizes;
    for (const Lone& file : files) sizes.insert(file.node.size);
    return sizes;
  };
  const std::unordered_set<uint64_t> old_sizes = sizes_of(was);
  const std::unordered_set<uint64_t> new_sizes = sizes_of(is);
  std::multimap<Key, Lone> gone;
  for (Lone& file : was) {
    Key key(file.node.type, file.node.size, "", "");  // matches nothing
    if (new_sizes.contains(file.node.size)) {
      SNAP_ASSIGN(key, key_of(before_, file));
    }
    gone.emplace(std::move(key), std::move(file));
  }
  for (Lone& file : is) {
    Key key;
    if (old_sizes.contains(file.node.size)) {
      SNAP_ASSIGN(key, key_of(after_, file));
    }
    const bool known = !std::get<2>(key).empty() || !std::get<3>(key).empty();
    const auto same = known ? gone.lower_bound(key) : gone.end();
    if (same == gone.end() || same->first != key) {
      after_.lone.push_back(std::move(file));
      continue;
    }
    Lone before = std::move(same->second);
    gone.erase(same);
    SNAP_TRY(pair_nodes(std::move(before), std::move(file), FileChangeKind::kRenamed));
  }
  for (auto& [key, file] : gone) before_.lone.push_back(std::move(file));
  return {};
}

Result<void> FileComparison::report_rest() {
  for (State* const state : {&before_, &after_}) {
    for (const Lone& file : state->lone) {
      SNAP_TRY(by_id_ ? report_lone_as(
                            *state, file,
                            state->is_after ? FileChangeKind::kLinked : FileChangeKind::kUnlinked)
                      : report_lone(*state, file));
    }
  }
  return {};
}

// Which ranges a file owns. Where only what is touched is looked at, that is known before.
Result<void> FileComparison::note(State& state, const Lone& file) {
  if (options_.changed == nullptr) return {};
  bool any = by_touch_ && state.owners.owns_any(file.node.id);
  if (!by_touch_) {
    const auto added = state.owners.add(file.node);
    if (added) {
      any = *added;
    } else {
      SNAP_TRY(problems_.note(file.path, added.error()));
      any = true;
    }
  }
  if (any) state.names.try_emplace(file.node.id, file.path);
  return {};
}

Result<void> FileComparison::report_lone(State& state, const Lone& file) {
  SNAP_TRY(report_lone_as(state, file,
                          state.is_after ? FileChangeKind::kCreated : FileChangeKind::kDeleted));
  if (file.node.type == NodeType::kFolder && enters(state, file)) state.folders.push_back(file);
  return {};
}

Result<void> FileComparison::report_lone_as(State& state, const Lone& file, FileChangeKind kind) {
  SNAP_TRY(note(state, file));
  FileVersion version = version_of(file);
  if (kind == FileChangeKind::kCreated || kind == FileChangeKind::kDeleted) {
    SNAP_TRY(judge_.complete(version, state.is_after));
  }
  if (options_.runs) SNAP_TRY(judge_.add_runs(version, state.is_after));
  FileChange change;
  change.kind = kind;
  (state.is_after ? change.after : change.before) = std::move(version);
  return report(change);
}

Result<void> FileComparison::report(const FileChange& change) {
  ++summary_.changes.at(static_cast<size_t>(change.kind));
  return visitor_.change(change);
}

Result<void> FileComparison::tell_pieces() {
  before_.owners.seal();
  after_.owners.seal();
  const auto path_of = [](const State& state, const SpaceUse& use) -> std::string_view {
    const auto name = use.id == 0 ? state.names.end() : state.names.find(use.id);
    return name == state.names.end() ? std::string_view() : name->second;
  };
  return visit_pieces(changed_, before_.owners, after_.owners, job_.cancel,
                      [&](const ChangedPiece& piece) -> Result<void> {
                        return visitor_.piece(
                            {piece, path_of(before_, piece.before), path_of(after_, piece.after)});
                      });
}

}  // namespace

std::string_view name_of(FileChangeKind kind) {
  constexpr std::array<std::string_view, kFileChangeKinds> kNames = {
      "created", "deleted", "modified", "changed", "renamed", "linked", "unlinked"};
  return kNames.at(static_cast<size_t>(kind));
}

std::string_view name_of(FileField field) {
  constexpr std::array<std::string_view, 15> kNames = {
      "name",  "inode",    "content", "target",   "size",    "mode",       "owner",    "group",
      "links", "modified", "changed", "accessed", "created", "attributes", "encrypted"};
  return kNames.at(static_cast<size_t>(field));
}

bool FileDiffSummary::equal() const {
  return std::accumulate(changes.begin(), changes.end(), uint64_t{0}) == 0;
}

Result<FileDiffSummary> diff_files(FileSystem& before, FileSystem& after,
                                   const FileDiffOptions& options, const FileDiffVisitor& visitor,
                                   const Job& job) {
  return FileComparison(before, after, options, visitor, job).run();
}

}  // namespace snaptool::ops
