// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "libsnap/io/file.h"
#include "libsnap/io/past_cache.h"
#include "libsnap/io/writeback.h"

namespace snaptool {

struct OpenOptions {
  Access access = Access::kRead;
  // Take no lock and respect none. For readers only: a writer's checks are never skipped.
  bool force_share = false;
  // Refuse a symbolic link.
  bool no_follow = false;
};

// A regular file or block device of this machine.
class PosixFile : public File {
 public:
  // Opens what `path` names (symbolic links are followed) and locks it: readers as QEMU's readers
  // do, writers the whole file (file_lock.h). A writer also makes sure that nobody holds it in
  // other ways: a block device is opened O_EXCL (mounts, device-mapper, RAID), a file must not be
  // behind a loop device. Errors: kNotFound; kBusy when somebody else has it; kInvalidArgument when
  // it is neither a regular file nor a block device, or is not permitted; kIo.
  static Result<std::unique_ptr<PosixFile>> open(const std::string& path,
                                                 const OpenOptions& options);

  // Makes a new, empty file that only its owner can open, locked for writing, and flushes its
  // folder. Errors: kInvalidArgument
  // when there is one already; kIo, kNoSpace. Crash: it is there, empty, or it is not.
  static Result<std::unique_ptr<PosixFile>> create(const std::string& path);

  // Takes over an open descriptor of a regular file or block device (of which it becomes the
  // owner).
  static Result<std::unique_ptr<PosixFile>> adopt(int fd, std::string name, Access access);

  ~PosixFile() override;

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_.load(); }
  FileKind kind() const override {
    return is_block_device_ ? FileKind::kBlockDevice : FileKind::kRegular;
  }
  std::optional<FileId> id() const override { return id_; }
  unsigned permissions() const override;
  Result<void> read_at(uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(uint64_t offset, std::span<const std::byte> data) override;
  bool share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) override;
  bool may_share() const override { return may_share_.load(std::memory_order_relaxed); }
  uint64_t shared_bytes() const override { return shared_bytes_.load(); }
  Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) override;
  Result<void> resize(uint64_t size) override;
  Result<void> reserve(uint64_t offset, uint64_t length) override;
  Result<void> flush() override;
  std::future<Result<void>> begin_flush() override;
  std::optional<uint64_t> space_left() const override;
  Result<Extent> extent_at(uint64_t offset, uint64_t limit) override;
  SharedExtent shared_at(uint64_t offset, uint64_t limit) const override;
  void will_need(uint64_t offset, uint64_t length) override;
  void start_writeback(uint64_t offset, uint64_t length) override;
  Result<void> read_medium(uint64_t offset, std::span<std::byte> out) override;
  void leave_cache() override;
  bool forget_cache(uint64_t offset, uint64_t length) override;

  bool is_sparse() const override;
  bool distrusts_map() const override { return distrusts_map_; }
  int fd() const { return fd_; }

 private:
  PosixFile(int fd, std::string name) : fd_(fd), name_(std::move(name)), writeback_(fd) {}
  Result<void> learn_about_it();
  // Whether the map shows as much data as the file has blocks.
  bool map_has(uint64_t block_bytes) const;
  uint64_t unwritten_bytes(uint64_t enough) const;
  // Errors: kIo for a block device that takes no writes.
  Result<void> check_not_read_only() const;
  Result<void> check_writable(uint64_t offset, uint64_t length) const;
  Result<void> check_within(uint64_t offset, uint64_t length) const;
  // Requires: flush_mutex_ is held.
  void keep_flush_failure(int err);
  // nullptr where the file takes no such reads.
  DirectReader* direct_reader();
  // From an offset in a hole or in data to where the one or the other ends.
  struct KnownExtent {
    uint64_t start = 0;
    uint64_t end = 0;  // start: nothing is known
    bool hole = false;
    bool has(uint64_t offset) const { return offset >= start && offset < end; }
  };
  // Requires: offset < size(). Errors: none; where holes cannot be told, all is data.
  // The extent that starts at `offset`. A hole `before` that ends there is followed by data.
  KnownExtent find_extent(uint64_t offset, const KnownExtent& before) const;

  int fd_;
  std::string name_;
  std::atomic<uint64_t> size_{0};
  FileId id_;
  bool is_block_device_ = false;
  bool writable_ = false;
  std::atomic<bool> may_share_{false};
  std::atomic<uint64_t> shared_bytes_{0};
  bool distrusts_map_ = false;
  mutable std::mutex flush_mutex_;
  std::optional<Error> flush_failure_;  // guarded by flush_mutex_
  std::atomic<bool> flush_failed_{false};
  std::once_flag direct_opened_;
  std::unique_ptr<DirectReader> direct_;
  bool reads_directly_ = false;  // the cache is not to be trusted, or to be left alone
  bool leaves_cache_ = false;
  std::optional<Writeback> writeback_;
  std::mutex write_mutex_;
  std::mutex written_mutex_;
  ByteRange written_;  // on its way to the medium, and then out of the cache; guarded
  mutable std::atomic<bool> no_fiemap_{false};
  // What was found last: to ask costs time that grows with the extents of the file. Kept only while
  // nobody writes through here.
  mutable std::mutex known_mutex_;
  mutable KnownExtent known_;           // guarded by known_mutex_
  mutable KnownExtent known_unshared_;  // guarded by known_mutex_
};

// Makes the names in the folder of `path` durable.
Result<void> flush_folder_of(const std::string& path);

}  // namespace snaptool
