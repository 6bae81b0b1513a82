// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsnap/base/progress.h"
#include "libsnap/base/result.h"
#include "libsnap/io/image.h"

namespace snaptool::access {

enum class NodeType : uint8_t {
  kFile,
  kFolder,
  kLink,
  kFifo,
  kSocket,
  kCharacterDevice,
  kBlockDevice,
  kOther,
};

struct FileTime {
  int64_t seconds = 0;  // since 1970
  uint32_t nanoseconds = 0;
  friend bool operator==(const FileTime&, const FileTime&) = default;
};

// What a file system says of a file, whatever its names are: an inode, a record of the MFT.
struct FileNode {
  uint64_t id = 0;
  uint64_t generation = 0;  // another one when the id is another file's
  NodeType type = NodeType::kOther;
  std::optional<uint32_t> mode;  // permission bits, as chmod has them
  std::optional<uint32_t> owner;
  std::optional<uint32_t> group;
  uint64_t links = 1;  // names
  uint64_t size = 0;   // bytes
  std::optional<FileTime> modified;
  std::optional<FileTime> changed;  // the node itself
  std::optional<FileTime> accessed;
  std::optional<FileTime> created;
  bool encrypted = false;  // its bytes are cipher text
  bool deleted = false;    // it is free: what it says was true once
  // It is the file system's own, and so is what is in it, if it is a folder: a table, its journal.
  bool internal = false;
  // Over all that the file system keeps of it besides its content and its names: other sums, other
  // metadata. 0: the format has nothing that the fields above lack.
  uint64_t metadata_sum = 0;
};

// Bytes of a file that lie together, in the order of the file.
struct FileRun {
  uint64_t offset = 0;  // in the file, bytes
  uint64_t length = 0;  // bytes; the last one may pass the file's end
  // Where in the image, bytes; nothing: they are zeros, or lie nowhere as they are (compressed,
  // within the node).
  std::optional<uint64_t> place;
  bool zeros = false;
};

struct FileEntry {
  std::string name;  // bytes as they are on the disk, or UTF-8; never empty, "." or ".."
  uint64_t id = 0;
  NodeType type = NodeType::kOther;  // as the folder has it
  bool deleted = false;              // the name is free, or the node is
};

// What else of an image a file system uses, or does not.
enum class SpaceKind : uint8_t { kFree, kJournal, kMetadata, kNodes, kFile };

// A file system, to be read. One thread at a time. Nothing of it is trusted: errors are
// kCorruption for what breaks its format, kUnsupported for what is not read of it, kNotFound for
// an id that is none, those of Image, and kInterrupted. Memory does not grow with the image.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  virtual std::string_view type() const = 0;  // "ext4"
  virtual std::string label() const = 0;
  virtual std::string uuid() const = 0;  // or serial number, as blkid has it; empty: none
  virtual uint64_t block_size() const = 0;  // bytes
  virtual uint64_t size() const = 0;        // bytes of the image that are its own
  // What a reader must know of all that is read: "its journal was not replayed".
  virtual const std::vector<std::string>& warnings() const = 0;
  // A system that mounted it might show something else first: a journal that was not replayed.
  virtual bool may_be_behind() const { return false; }
  virtual uint64_t root() const = 0;
  // Times are local time of an unknown zone, not UTC.
  virtual bool has_local_times() const { return false; }
  // The same file has the same id in the next state of the image.
  virtual bool has_stable_ids() const { return true; }
  // Over what says where nodes lie and how they are read. Two states of an image that have the same
  // sum differ in nodes only where their bytes differ: visit_ids_at finds these.
  virtual Result<uint64_t> layout_sum() { return uint64_t{0}; }

  virtual Result<FileNode> node(uint64_t id) = 0;
  // Every node that is in use, each once. What visit returns as an error ends it.
  virtual Result<void> visit_nodes(const std::function<Result<void>(const FileNode&)>& visit) = 0;
  // Ids whose nodes lie in these bytes of the image; others may be among them. They need not be in
  // use. kUnsupported where ids are not stable.
  virtual Result<void> visit_ids_at(uint64_t offset, uint64_t length,
                                    const std::function<Result<void>(uint64_t id)>& visit) = 0;
  virtual Result<void> visit_runs(const FileNode& node,
                                  const std::function<Result<void>(const FileRun&)>& visit) = 0;
  // Bytes of the image that are the node's own, besides it and its runs, and that visit_ids_at does
  // not trace to it: where its runs are told of, its attributes.
  virtual Result<void> visit_structures(
      const FileNode& /*node*/,
      const std::function<Result<void>(uint64_t offset, uint64_t length)>& /*visit*/) {
    return {};
  }
  // The names in a folder, in the order of the disk. `deleted`: also those that are free.
  virtual Result<void> visit_entries(const FileNode& folder, bool deleted,
                                     const std::function<Result<void>(const FileEntry&)>& visit) = 0;
  // Fills all of `out`. Requires: offset + out.size() <= node.size.
  virtual Result<void> read(const FileNode& node, uint64_t offset, std::span<std::byte> out) = 0;
  // What a link leads to, at most 64 KiB.
  virtual Result<std::string> target(const FileNode& link) = 0;
  // What the block there is used for, and up to which byte at least.
  virtual Result<std::pair<SpaceKind, uint64_t>> space_at(uint64_t offset) = 0;
};

}  // namespace snaptool::access
