// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libsnap/access/context.h"
#include "libsnap/access/file_system.h"

namespace snaptool::ops {

// Files within an image, without mounting it: nothing of it is executed, followed or changed.

// The file system that fills the image; what must be known of it is warned of. Requires: the image
// outlives it. Errors: kUnsupported for one that is not read, and where there is none; those of
// access::FileSystem.
Result<std::unique_ptr<access::FileSystem>> open_file_system(const access::Context& context,
                                                             Image& image);

// What has that path, from the root on, with or without a slash before it. Links are not followed.
// Errors: kNotFound.
Result<access::FileNode> find_file(access::FileSystem& files, const std::string& path);

// A file that a walk comes to.
struct FoundFile {
  const std::string& path;  // from the root on, without a slash before it
  const access::FileEntry& entry;
  const Result<access::FileNode>& node;  // kCorruption where it cannot be read
};

struct WalkOptions {
  bool recursive = false;
  bool deleted = false;  // what is no more, too, as far as there are traces of it
};

// Whatever is in a folder, in the order of the disk; a folder before what is in it. A folder that
// is come to again, over a broken way, is told of and not entered. `path`: of the folder, for the
// paths. Memory grows with the number of folders. Errors: those of access::FileSystem, of which
// kCorruption does not end the walk, and is returned after it; what visit returns; kInterrupted.
Result<void> walk_files(access::FileSystem& files, const std::string& path,
                        const access::FileNode& folder, const WalkOptions& options,
                        const Cancel& cancel,
                        const std::function<Result<void>(const FoundFile&)>& visit);

// The content of a file, as an image. Requires: `files` outlives it.
class FileImage : public Image {
 public:
  FileImage(access::FileSystem& files, access::FileNode node, std::string name)
      : files_(files), node_(std::move(node)), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return node_.size; }
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;

 private:
  Result<void> read_runs(uint64_t offset);

  access::FileSystem& files_;
  const access::FileNode node_;
  const std::string name_;
  std::mutex mutex_;                   // guards `files_`, and
  std::vector<access::FileRun> runs_;  // those that were asked for last
};

}  // namespace snaptool::ops
