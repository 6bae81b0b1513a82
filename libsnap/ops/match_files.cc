// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/match_files.h"

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_set>

namespace snaptool::ops {
namespace {

using access::FileNode;
using access::FileSystem;
using access::NodeType;

// A file that is gone, of a key that a new one has, by what else it must have in common.
template <typename Key>
class Gone {
 public:
  void add(Key key, NamedFile file) { files_.emplace(std::move(key), std::move(file)); }
  // Takes the first one out.
  std::optional<NamedFile> take(const Key& key) {
    const auto found = files_.lower_bound(key);
    if (found == files_.end() || found->first != key) return std::nullopt;
    NamedFile file = std::move(found->second);
    files_.erase(found);
    return file;
  }
  const NamedFile* find(const Key& key) const {
    const auto found = files_.lower_bound(key);
    return found == files_.end() || found->first != key ? nullptr : &found->second;
  }
  void move_to(std::vector<NamedFile>& rest) {
    for (auto& [key, file] : files_) rest.push_back(std::move(file));
  }

 private:
  std::multimap<Key, NamedFile> files_;
};

std::optional<uint64_t> place_of(FileSystem& files, const FileNode& node) {
  std::optional<uint64_t> place;
  const auto visited = files.visit_runs(node, [&](const access::FileRun& run) -> Result<void> {
    if (!place) place = run.place;
    return {};
  });
  return visited ? place : std::nullopt;
}

// (type, size, sum, target)
using ContentKey = std::tuple<NodeType, uint64_t, std::string, std::string>;

Result<ContentKey> key_of(FileJudge& judge, const NamedFile& file, bool is_after) {
  FileVersion version;
  version.path = file.path;
  version.node = file.node;
  SNAP_TRY(judge.complete(version, is_after));
  return ContentKey(file.node.type, file.node.size, version.sha256, version.target);
}

bool has_content(const ContentKey& key) {
  return !std::get<2>(key).empty() || !std::get<3>(key).empty();
}

std::unordered_set<uint64_t> sizes_of(const std::vector<NamedFile>& files) {
  std::unordered_set<uint64_t> sizes;
  for (const NamedFile& file : files) sizes.insert(file.node.size);
  return sizes;
}

}  // namespace

FileMatches match_by_id(std::vector<NamedFile> before, std::vector<NamedFile> after) {
  FileMatches matches;
  Gone<uint64_t> gone;
  for (NamedFile& file : before) gone.add(file.node.id, std::move(file));
  for (NamedFile& file : after) {
    if (auto same = gone.take(file.node.id)) {
      matches.pairs.emplace_back(*std::move(same), std::move(file));
    } else {
      matches.after.push_back(std::move(file));
    }
  }
  gone.move_to(matches.before);
  return matches;
}

FileMatches match_by_place(FileSystem& before_files, std::vector<NamedFile> before,
                           FileSystem& after_files, std::vector<NamedFile> after) {
  FileMatches matches;
  Gone<uint64_t> gone;
  for (NamedFile& folder : before) {
    const auto place = place_of(before_files, folder.node);
    if (place) {
      gone.add(*place, std::move(folder));
    } else {
      matches.before.push_back(std::move(folder));
    }
  }
  for (NamedFile& folder : after) {
    const auto place = place_of(after_files, folder.node);
    const NamedFile* const same = place ? gone.find(*place) : nullptr;
    if (same != nullptr && same->node.created == folder.node.created) {
      matches.pairs.emplace_back(*gone.take(*place), std::move(folder));
    } else {
      matches.after.push_back(std::move(folder));
    }
  }
  gone.move_to(matches.before);
  return matches;
}

Result<FileMatches> match_by_content(FileJudge& judge, std::vector<NamedFile> before,
                                     std::vector<NamedFile> after) {
  FileMatches matches;
  // Only where a size is there on both sides is content read.
  const std::unordered_set<uint64_t> old_sizes = sizes_of(before);
  const std::unordered_set<uint64_t> new_sizes = sizes_of(after);
  Gone<ContentKey> gone;
  for (NamedFile& file : before) {
    ContentKey key;
    if (new_sizes.contains(file.node.size)) {
      SNAP_ASSIGN(key, key_of(judge, file, false));
    }
    gone.add(std::move(key), std::move(file));
  }
  for (NamedFile& file : after) {
    ContentKey key;
    if (old_sizes.contains(file.node.size)) {
      SNAP_ASSIGN(key, key_of(judge, file, true));
    }
    auto same = has_content(key) ? gone.take(key) : std::nullopt;
    if (same) {
      matches.pairs.emplace_back(*std::move(same), std::move(file));
    } else {
      matches.after.push_back(std::move(file));
    }
  }
  gone.move_to(matches.before);
  return matches;
}

}  // namespace snaptool::ops
