// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libsnap/base/result.h"
#include "libsnap/base/units.h"
#include "libsnap/io/extent.h"

namespace snaptool {

enum class Access { kRead, kReadWrite };

enum class FileKind {
  kRegular,      // of this machine; it can grow
  kBlockDevice,  // of this machine
  kOther,        // memory, or made of other files
};

// Which file on the machine it is; two names of one file (or of one device) compare equal.
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;  // a block device's own number has device 0
  bool operator==(const FileId&) const = default;
};

// Bytes of a file or block device of this machine.
struct Storage {
  FileId id;
  uint64_t offset = 0;
  uint64_t size = 0;
};

// Where on its device a piece of a file lies that shares its blocks with others (reflinked).
struct SharedExtent {
  uint64_t length = 0;               // bytes, at least 1
  std::optional<uint64_t> physical;  // bytes; nullopt: not shared, or not to be told
};

// How zero_at leaves the range allocated.
enum class ZeroMode {
  kKeep,   // zeros; space that was allocated stays allocated
  kPunch,  // zeros; space is given back where the file system can
};

// What the operating system promises about a file or block device: bytes at offsets, and durability
// of this one file. All recording and fault injection of the tests happens at this seam.
//
// Offsets and lengths are bytes. Several threads may call read_at, write_at and zero_at at once on
// ranges that do not overlap. Nothing here is atomic: a crash before flush leaves any subset of the
// 512-byte sectors written since the last one.
class File {
 public:
  virtual ~File() = default;
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // The name to show in messages.
  virtual const std::string& name() const = 0;
  // Length in bytes (a block device's is its capacity), as of opening and later resizes through
  // here.
  virtual uint64_t size() const = 0;
  virtual FileKind kind() const { return FileKind::kOther; }
  // nullopt when it is no file of this machine (memory): then it is nobody else's either.
  virtual std::optional<FileId> id() const { return std::nullopt; }
  // The bytes of this machine's files that it consists of; nothing for memory.
  virtual std::vector<Storage> storages() const {
    return id() ? std::vector{Storage{*id(), 0, size()}} : std::vector<Storage>();
  }

  // The mode bits that a new file made from it may have, so that nobody can read there what he
  // cannot read here.
  virtual unsigned permissions() const { return 0666; }

  // Fills `out` from `offset`.
  // Errors: kCorruption when the range passes the end of the file (never zeros for missing data);
  // kIo.
  virtual Result<void> read_at(uint64_t offset, std::span<std::byte> out) = 0;
  // Requires: the range lies within size(). Errors: kIo, kNoSpace; after a failed flush always that
  // error.
  virtual Result<void> write_at(uint64_t offset, std::span<const std::byte> data) = 0;
  // Writes a long range by sharing the blocks of another file (a reflink) instead of copying them.
  // False where that cannot be had: then nothing is said of what the range holds. For a crash, and
  // for flush, it is a write. Requires: both ranges lie within their files.
  virtual bool share_from(uint64_t /*offset*/, File& /*source*/, uint64_t /*source_offset*/,
                          uint64_t /*length*/) {
    return false;
  }
  // Whether it is worth asking for, and how many bytes were shared so far.
  virtual bool may_share() const { return false; }
  virtual uint64_t shared_bytes() const { return 0; }
  // Makes the range read as zeros. Requires and errors as write_at.
  virtual Result<void> zero_at(uint64_t offset, uint64_t length, ZeroMode mode) = 0;
  // A file may grow while others write to it. Errors: kIo, kNoSpace; kUnsupported on a block
  // device.
  virtual Result<void> resize(uint64_t size) = 0;
  // Has the file system keep blocks for these bytes, past the end, too; the size stays. Nothing
  // happens where it does not offer that. Fails where they do not fit.
  virtual Result<void> reserve(uint64_t /*offset*/, uint64_t /*length*/) { return {}; }
  // Makes everything written to THIS file durable, its size too. Says nothing about other files.
  // Errors: kIo, kNoSpace. A failed flush stays failed: the page cache may have dropped what could
  // not be written, so no later flush or write of this File succeeds.
  virtual Result<void> flush() = 0;
  // Begins a flush that goes on beside other calls, and gives its result when asked (once). What
  // was written before this call is durable once it says so; what is written meanwhile may not be.
  // Requires: the file stays until then; the future waits for that when it goes.
  // Where a flush is no matter of waiting for a medium, it is all done when asked.
  virtual std::future<Result<void>> begin_flush() {
    return std::async(std::launch::deferred, [this] { return flush(); });
  }

  // Bytes that can still be allocated where it lies; nullopt where that cannot be told, or where
  // nothing needs to be (a block device).
  virtual std::optional<uint64_t> space_left() const { return std::nullopt; }

  // The extent that starts at `offset`, at most `limit` bytes long; it ends where the file does.
  // A file that is part of others names the one that its bytes lie in. Where holes cannot be told,
  // all is data. Requires: offset < size(), limit > 0.
  virtual Result<Extent> extent_at(uint64_t offset, uint64_t limit) = 0;
  // Whether the bytes from `offset` on are shared, for at most `limit` bytes. Two files of one
  // device with the same physical bytes have the same content. Requires: as extent_at.
  virtual SharedExtent shared_at(uint64_t /*offset*/, uint64_t limit) const { return {limit, {}}; }
  // Whether space has been left out already, so that zeros should become holes.
  virtual bool is_sparse() const { return false; }
  // Whether the map of holes that there is leaves out more than it can: all counts as data then.
  virtual bool distrusts_map() const { return false; }
  // A hint that the range will be read soon.
  virtual void will_need(uint64_t /*offset*/, uint64_t /*length*/) {}
  // A hint that what was written to the range should be on its way to the medium. It makes nothing
  // durable, and reports no error: that is for flush.
  virtual void start_writeback(uint64_t /*offset*/, uint64_t /*length*/) {}

  // From now on the page cache is left as it is, or nearly: reads go past it where the file takes
  // such reads, and what is written leaves it soon. Before other calls.
  virtual void leave_cache() {}

  // After a flush that failed, a cache shows what was written as if it were there. These two look
  // past it.
  //
  // As read_at, but what the medium has; the cache stays as it is. Where that cannot be had (a file
  // system that is a cache and nothing else), it is read_at. Requires: the range was flushed.
  virtual Result<void> read_medium(uint64_t offset, std::span<std::byte> out) {
    return read_at(offset, out);
  }
  // Has the range come from the medium when it is read next; false where the cache may still have
  // some of it. Of a whole file that the cache holds on to, all reads go past it from now on, where
  // the file takes such reads: true then. Requires: it was flushed; no other call is under way.
  virtual bool forget_cache(uint64_t /*offset*/, uint64_t /*length*/) { return false; }
};

// Less is copied as fast as its blocks are shared.
inline constexpr uint64_t kWorthSharing = 64 * kKiB;

// Has the target share the extent's blocks from `offset` on, as File::share_from.
inline bool share_extent(const Extent& extent, File& target, uint64_t offset) {
  return target.may_share() && extent.file != nullptr && extent.file_offset &&
         target.share_from(offset, *extent.file, *extent.file_offset, extent.length);
}

// How zeros are written to a file so that it stays as sparse as it is.
inline ZeroMode zero_mode_of(const File& file) {
  return file.is_sparse() ? ZeroMode::kPunch : ZeroMode::kKeep;
}

}  // namespace snaptool
