// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/files.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "libsnap/base/printable.h"
#include "libsnap/io/content_file.h"

namespace snaptool::ops {
namespace {

using access::FileEntry;
using access::FileNode;
using access::FileSystem;
using access::NodeType;

// What to do where there is none.
Result<Error> no_file_system(const access::Context& context, Image& image,
                             std::span<const std::byte> head) {
  const std::string_view known = context.drivers.name_file_system(head);
  if (!known.empty()) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' holds {}, whose files are not read", image.name(), known));
  }
  ContentFile disk(image, Access::kRead);
  const auto partitions = context.drivers.volumes.read_partitions(disk);
  const bool divided = partitions && partitions->has_value();
  return Error(ErrorCode::kUnsupported,
               divided
                   ? fmt::format("'{0}' is partitioned: name the partition ('{0}#p1'; 'snaptool "
                                 "info' lists them)",
                                 image.name())
                   : fmt::format("'{}' holds no file system that is known", image.name()));
}

Result<FileNode> child_named(FileSystem& files, const FileNode& folder, const std::string& path,
                             std::string_view name) {
  std::optional<uint64_t> found;
  auto visited = files.visit_entries(folder, false, [&](const FileEntry& entry) -> Result<void> {
    if (entry.name == name && !found) found = entry.id;
    return {};
  });
  // What else of the folder is damaged is of no interest.
  if (found && (visited || visited.error().code() == ErrorCode::kCorruption)) {
    return files.node(*found);
  }
  SNAP_TRY(std::move(visited));
  return Error(ErrorCode::kNotFound, fmt::format("there is no '{}'", excerpt(path, kMostOfName)));
}

// Folders that are still to be looked into, and those that were.
class Walk {
 public:
  Walk(FileSystem& files, const WalkOptions& options, const Cancel& cancel,
       const std::function<Result<void>(const FoundFile&)>& visit)
      : files_(files), options_(options), cancel_(cancel), visit_(visit) {}

  Result<void> run(const std::string& path, const FileNode& folder) {
    seen_.insert(folder.id);
    ahead_.push_back({path, folder});
    while (!ahead_.empty()) {
      const Folder next = std::move(ahead_.back());
      ahead_.pop_back();
      const size_t first = ahead_.size();
      auto done = look_into(next);
      if (!done && done.error().code() != ErrorCode::kCorruption) return done;
      if (!done && !damage_) damage_ = std::move(done).error();
      std::reverse(ahead_.begin() + static_cast<ptrdiff_t>(first), ahead_.end());
    }
    if (damage_) return *std::move(damage_);
    return {};
  }

 private:
  struct Folder {
    std::string path;
    FileNode node;
  };

  Result<void> look_into(const Folder& folder) {
    return files_.visit_entries(
        folder.node, options_.deleted, [&](const FileEntry& entry) -> Result<void> {
          if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
          return add(folder.path.empty() ? entry.name : folder.path + "/" + entry.name, entry);
        });
  }

  Result<void> add(const std::string& path, const FileEntry& entry) {
    auto node = files_.node(entry.id);
    if (!node && node.error().code() != ErrorCode::kCorruption &&
        node.error().code() != ErrorCode::kNotFound) {
      return node.error();
    }
    const bool enters = options_.recursive && node && node->type == NodeType::kFolder &&
                        !entry.deleted && !node->deleted;
    if (enters && !seen_.insert(node->id).second) {
      node = Error(ErrorCode::kCorruption, "it is a folder that has two names");
    } else if (enters) {
      ahead_.push_back({path, *node});
    }
    return visit_({path, entry, node});
  }

  FileSystem& files_;
  const WalkOptions& options_;
  const Cancel& cancel_;
  const std::function<Result<void>(const FoundFile&)>& visit_;
  std::vector<Folder> ahead_;
  std::unordered_set<uint64_t> seen_;
  std::optional<Error> damage_;  // the first
};

}  // namespace

Result<std::unique_ptr<FileSystem>> open_file_system(const access::Context& context, Image& image) {
  std::vector<std::byte> head(std::min<uint64_t>(image.size(), access::kFileSystemHead));
  SNAP_TRY(image.read_at(0, head));
  for (const access::FileSystemDriver& driver : context.drivers.file_systems) {
    if (!driver.probe(head)) continue;
    auto opened = driver.open(image, context.cancel);
    if (!opened) return std::move(opened).error().with_context(fmt::format("'{}'", image.name()));
    for (const std::string& warning : (*opened)->warnings()) {
      context.notices.warn(fmt::format("'{}': {}", image.name(), warning));
    }
    return opened;
  }
  SNAP_ASSIGN(Error error, no_file_system(context, image, head));
  return error;
}

Result<FileNode> find_file(FileSystem& files, const std::string& path) {
  SNAP_ASSIGN(FileNode node, files.node(files.root()));
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    if (end > at && node.type != NodeType::kFolder) {
      return Error(ErrorCode::kNotFound,
                   fmt::format("'{}' is not a folder", excerpt(path.substr(0, at), kMostOfName)));
    }
    if (end > at) {
      SNAP_ASSIGN(node,
                  child_named(files, node, path, std::string_view(path).substr(at, end - at)));
    }
    at = end + 1;
  }
  return node;
}

Result<void> walk_files(FileSystem& files, const std::string& path, const FileNode& folder,
                        const WalkOptions& options, const Cancel& cancel,
                        const std::function<Result<void>(const FoundFile&)>& visit) {
  return Walk(files, options, cancel, visit).run(path, folder);
}

Result<void> FileImage::read_at(uint64_t offset, std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  return files_.read(node_, offset, out);
}

// Reads some runs, from the one that `offset` is in on.
Result<void> FileImage::read_runs(uint64_t offset) {
  constexpr size_t kMostRuns = 4096;
  runs_.clear();
  const Error enough(ErrorCode::kInterrupted, "enough");
  auto done = files_.visit_runs(node_, [&](const access::FileRun& run) -> Result<void> {
    if (run.offset + run.length <= offset) return {};
    runs_.push_back(run);
    return runs_.size() < kMostRuns ? Result<void>() : enough;
  });
  if (!done && runs_.size() < kMostRuns) return done;
  return {};
}

Result<Extent> FileImage::extent_at(uint64_t offset, uint64_t limit) {
  const std::lock_guard lock(mutex_);
  const auto covers = [&](const access::FileRun& run) {
    return run.offset <= offset && offset < run.offset + run.length;
  };
  auto run = std::find_if(runs_.begin(), runs_.end(), covers);
  if (run == runs_.end()) {
    SNAP_TRY(read_runs(offset));
    run = std::find_if(runs_.begin(), runs_.end(), covers);
  }
  Extent extent;
  extent.length = limit;
  if (run == runs_.end()) return extent;
  extent.length = std::min(limit, run->offset + run->length - offset);
  extent.zero = run->zeros;
  return extent;
}

}  // namespace snaptool::ops
