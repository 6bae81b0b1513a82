// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/posix_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/blocked_signals.h"
#include "libsnap/base/check.h"
#include "libsnap/io/file_lock.h"
#include "libsnap/io/folder.h"
#include "libsnap/io/open_observer.h"

namespace snaptool {
namespace {

bool within(uint64_t size, uint64_t offset, uint64_t length) {
  return offset <= size && length <= size - offset;
}

// What to do when a file cannot be opened; nothing where the errno says it.
std::string remedy_for(int err, bool write, const std::string& path) {
  if (err == EACCES) {
    return fmt::format("you lack {} permission for it, or search permission for a folder above it",
                       write ? "read or write" : "read");
  }
  if (err == EPERM) return "it may be immutable: see lsattr";
  if (err == EROFS) return "remount that writable, or leave it as it is and write a new file";
  if (err == ENOENT) return note_of_missing(path);
  return {};
}

Error no_image(const std::string& name, const struct stat& st) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("'{}' is {}, not a file or block device", name,
                      S_ISDIR(st.st_mode)   ? "a directory"
                      : S_ISCHR(st.st_mode) ? "a character device"
                                            : "a pipe or special file")};
}

std::atomic<OpenObserver*> open_observer{nullptr};

}  // namespace

void set_open_observer(OpenObserver* observer) { open_observer.store(observer); }

Result<std::unique_ptr<PosixFile>> PosixFile::open(const std::string& path,
                                                   const OpenOptions& options) {
  SNAP_CHECK(!(options.access == Access::kReadWrite && options.force_share));
  const bool write = options.access == Access::kReadWrite;
  // O_NONBLOCK so that a FIFO named by mistake is refused below instead of waited for.
  int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  if (options.no_follow) flags |= O_NOFOLLOW;
  struct stat before {};
  if (::stat(path.c_str(), &before) == 0) {
    // To open a character device can rewind a tape, or start a watchdog.
    if (!S_ISREG(before.st_mode) && !S_ISBLK(before.st_mode)) return no_image(path, before);
    if (write && S_ISBLK(before.st_mode)) flags |= O_EXCL;
  }
  // What is only read keeps its access time, where its owner (or root) asks.
  int fd = write ? -1 : ::open(path.c_str(), flags | O_NOATIME);
  if (fd < 0 && (write || errno == EPERM)) fd = ::open(path.c_str(), flags);
  if (fd < 0) {
    const int err = errno;
    if (err == EBUSY) {
      return Error(ErrorCode::kBusy,
                   fmt::format("'{}' is in use (mounted, or held by device-mapper or RAID): "
                               "unmount or remove that first ('lsblk' shows it)",
                               path));
    }
    if (err == EISDIR) {
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("'{}' is a directory, not a file or block device", path));
    }
    auto error = Error::from_errno(
        err, fmt::format("cannot open '{}'{}", path, write ? " for writing" : ""));
    // Landlock is not asked here.
    if (err == EACCES &&
        ::faccessat(AT_FDCWD, path.c_str(), write ? R_OK | W_OK : R_OK, AT_EACCESS) == 0) {
      return std::move(error)
          .with_note("the sandbox lets only those files be opened that the command line names")
          .with_remedy(Remedy::kLeaveSandbox);
    }
    return std::move(error).with_note(remedy_for(err, write, path));
  }
  SNAP_ASSIGN(auto file, adopt(fd, path, options.access));
  if (write) {
    SNAP_TRY(file->check_not_read_only());
    SNAP_TRY(lock_for_writing(fd, path));
    SNAP_TRY(check_not_held(fd, path));
  } else if (!options.force_share) {
    SNAP_TRY(lock_for_reading(fd, path));
  }
  return file;
}

Result<std::unique_ptr<PosixFile>> PosixFile::create(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    const int err = errno;
    if (err == EEXIST) {
      return Error(ErrorCode::kInvalidArgument, fmt::format("'{}' exists already", path));
    }
    return Error::from_errno(err, fmt::format("cannot create '{}'", path));
  }
  SNAP_ASSIGN(auto file, adopt(fd, path, Access::kReadWrite));
  SNAP_TRY(lock_for_writing(fd, path));
  SNAP_TRY(flush_folder_of(path));
  return file;
}

Result<std::unique_ptr<PosixFile>> PosixFile::adopt(int fd, std::string name, Access access) {
  std::unique_ptr<PosixFile> file(new PosixFile(fd, std::move(name)));
  file->writable_ = access == Access::kReadWrite;
  file->may_share_ = file->writable_;
  SNAP_TRY(file->learn_about_it());
  if (OpenObserver* const observer = open_observer.load()) observer->opened(*file, access);
  return file;
}

Result<void> PosixFile::learn_about_it() {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) return Error::from_errno(errno, fmt::format("stat '{}'", name_));
  if (S_ISREG(st.st_mode)) {
    size_ = static_cast<uint64_t>(st.st_size);
    id_ = FileId{st.st_dev, st.st_ino};
    distrusts_map_ = !map_has(static_cast<uint64_t>(st.st_blocks) * kSectorSize);
  } else if (S_ISBLK(st.st_mode)) {
    uint64_t bytes = 0;
    if (::ioctl(fd_, BLKGETSIZE64, &bytes) != 0) {
      return Error::from_errno(errno, fmt::format("size of block device '{}'", name_));
    }
    size_ = bytes;
    id_ = FileId{0, st.st_rdev};
    is_block_device_ = true;
  } else {
    return no_image(name_, st);
  }
  return {};
}

Result<void> PosixFile::check_not_read_only() const {
  // The kernel lets root open such a device for writing, and refuses the writes.
  int read_only = 0;
  if (!is_block_device_ || ::ioctl(fd_, BLKROGET, &read_only) != 0 || read_only == 0) return {};
  return Error(ErrorCode::kIo, fmt::format("'{}' is a read-only device: nothing was written "
                                           "('blockdev --setrw' makes it writable)",
                                           name_));
}

PosixFile::~PosixFile() {
  writeback_.reset();  // while the descriptor is this file's
  ::close(fd_);
}

unsigned PosixFile::permissions() const {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) return 0600;
  // The group of a new file is another one, mostly.
  const unsigned group = st.st_gid == ::getegid() ? 060U : (st.st_mode & 06U) << 3U;
  return st.st_mode & (0606U | group);
}

Result<void> PosixFile::check_within(uint64_t offset, uint64_t length) const {
  if (within(size(), offset, length)) return {};
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' ends at byte {}, but {} bytes at byte {} are needed", name_,
                           size(), length, offset));
}

Result<void> PosixFile::read_at(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_within(offset, out.size()));
  if (reads_directly_) return direct_->read_at(offset, out, name_);
  while (!out.empty()) {
    const size_t piece = std::min<size_t>(out.size(), kIoPiece);
    const ssize_t got = ::pread(fd_, out.data(), piece, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return Error::from_errno(errno, fmt::format("read '{}' at byte {}", name_, offset));
    }
    if (got == 0) {
      return Error(
          ErrorCode::kCorruption,
          fmt::format("'{}' became shorter while it was read: nothing at byte {}", name_, offset));
    }
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<void> PosixFile::check_writable(uint64_t offset, uint64_t length) const {
  SNAP_CHECK(writable_);
  SNAP_CHECK(within(size(), offset, length));
  if (flush_failed_.load()) {
    const std::lock_guard lock(flush_mutex_);
    return *flush_failure_;
  }
  return {};
}

Result<void> PosixFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  SNAP_TRY(check_writable(offset, data.size()));
  // The kernel lets one write to a file's cache at a time; its lock has the others spin, where the
  // writeback could use the processor.
  std::unique_lock lock(write_mutex_, std::defer_lock);
  if (!is_block_device_) lock.lock();
  while (!data.empty()) {
    const size_t piece = std::min<size_t>(data.size(), kIoPiece);
    const ssize_t put = ::pwrite(fd_, data.data(), piece, static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return Error::from_errno(errno, fmt::format("write '{}' at byte {}", name_, offset));
    }
    if (put == 0) {
      return Error::from_errno(EIO,
                               fmt::format("write '{}' at byte {}: nothing taken", name_, offset));
    }
    data = data.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

bool PosixFile::share_from(uint64_t offset, File& source, uint64_t source_offset, uint64_t length) {
  // File systems share whole blocks, nearly always of 4 KiB.
  constexpr uint64_t kBlock = 4 * kKiB;
  const auto* const posix = dynamic_cast<const PosixFile*>(&source);
  if (posix == nullptr || (offset | source_offset | length) % kBlock != 0) return false;
  if (!check_writable(offset, length)) return false;
  SNAP_CHECK(within(source.size(), source_offset, length));
  const file_clone_range range{posix->fd(), source_offset, length, offset};
  if (::ioctl(fd_, FICLONERANGE, &range) == 0) {
    shared_bytes_ += length;
    return true;
  }
  // Whatever went wrong: copying does as well, or says what it is.
  if (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS) may_share_ = false;
  return false;
}

Result<void> PosixFile::zero_at(uint64_t offset, uint64_t length, ZeroMode mode) {
  SNAP_TRY(check_writable(offset, length));
  if (length == 0) return {};
  const int how = (mode == ZeroMode::kPunch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
                  FALLOC_FL_KEEP_SIZE;
  int err = 0;
  do {
    err = ::fallocate(fd_, how, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0
              ? 0
              : errno;
  } while (err == EINTR);
  if (err == 0) return {};
  if (err != EOPNOTSUPP && err != EINVAL && err != ENOSYS && err != ENODEV) {
    return Error::from_errno(
        err, fmt::format("zero {} bytes of '{}' at byte {}", length, name_, offset));
  }
  // Not offered here (or not at this alignment): write the zeros.
  static const std::vector<std::byte> zeros(64 * kKiB);
  while (length > 0) {
    const uint64_t piece = std::min<uint64_t>(length, zeros.size());
    SNAP_TRY(write_at(offset, std::span(zeros).first(piece)));
    offset += piece;
    length -= piece;
  }
  return {};
}

Result<void> PosixFile::resize(uint64_t size) {
  SNAP_TRY(check_writable(0, 0));
  if (is_block_device_) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("'{}' is a block device: its size is fixed", name_));
  }
  int err = 0;
  do {
    err = ::ftruncate(fd_, static_cast<off_t>(size)) == 0 ? 0 : errno;
  } while (err == EINTR);
  if (err != 0) return Error::from_errno(err, fmt::format("resize '{}' to {} bytes", name_, size));
  size_ = size;
  return {};
}

Result<void> PosixFile::reserve(uint64_t offset, uint64_t length) {
  SNAP_TRY(check_writable(0, 0));
  int err = 0;
  do {
    err = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                      static_cast<off_t>(length)) == 0
              ? 0
              : errno;
  } while (err == EINTR);
  if (err != ENOSPC && err != EDQUOT && err != EFBIG) return {};
  return Error::from_errno(err, fmt::format("keep {} bytes for '{}'", length, name_));
}

void PosixFile::keep_flush_failure(int err) {
  flush_failure_ = Error::from_errno(err, fmt::format("flush '{}'", name_));
  flush_failed_ = true;
}

Result<void> PosixFile::flush() {
  const std::lock_guard lock(flush_mutex_);
  if (flush_failure_) return *flush_failure_;
  int err = 0;
  do {
    err = ::fdatasync(fd_) == 0 ? 0
                                : errno;  // size changes included: they are needed to read the data
  } while (err == EINTR);
  // There is nothing to flush of what this process cannot write, and nobody else can.
  if (!writable_ && (err == EROFS || err == EINVAL)) return {};
  if (err != 0) {
    keep_flush_failure(err);
    return *flush_failure_;
  }
  if (leaves_cache_) drop_pages(fd_, 0, 0);
  return {};
}

std::future<Result<void>> PosixFile::begin_flush() {
  try {
    const BlockedSignals blocked;
    return std::async(std::launch::async, [this] { return flush(); });
  } catch (const std::system_error&) {  // no thread to be had
    return File::begin_flush();
  }
}

PosixFile::KnownExtent PosixFile::find_extent(uint64_t offset, const KnownExtent& before) const {
  const uint64_t size = size_.load();
  const KnownExtent all_data{offset, size, false};
  if (is_block_device_ || distrusts_map_) return all_data;
  const off_t start = static_cast<off_t>(offset);
  if (!before.hole || before.end != offset) {
    const off_t data = ::lseek(fd_, start, SEEK_DATA);
    // ENXIO: nothing but a hole to the end of the file. Anything else: holes cannot be told.
    if (data < 0) return errno == ENXIO ? KnownExtent{offset, size, true} : all_data;
    if (data > start) return {offset, std::min(size, static_cast<uint64_t>(data)), true};
  }
  const off_t hole = ::lseek(fd_, start, SEEK_HOLE);
  if (hole <= start) return all_data;
  return {offset, std::min(size, static_cast<uint64_t>(hole)), false};
}

Result<Extent> PosixFile::extent_at(uint64_t offset, uint64_t limit) {
  SNAP_CHECK(offset < size() && limit > 0);
  const auto cut = [&](const KnownExtent& known) {
    return Extent{std::min(limit, known.end - offset), known.hole, 0, this, offset};
  };
  if (writable_) return cut(find_extent(offset, {}));
  const std::scoped_lock lock(known_mutex_);
  if (!known_.has(offset)) known_ = find_extent(offset, known_);
  return cut(known_);
}

namespace {

// The first extent that has bytes at or behind `offset`; nullopt when there is none. Errors: those
// of the ioctl.
Result<std::optional<struct fiemap_extent>> map_extent(int fd, uint64_t offset, uint64_t length,
                                                       uint32_t flags) {
  alignas(struct fiemap) std::array<std::byte, sizeof(struct fiemap) + sizeof(struct fiemap_extent)>
      buffer{};
  auto* const map = new (buffer.data()) struct fiemap;
  map->fm_start = offset;
  map->fm_length = length;
  map->fm_flags = flags;
  map->fm_mapped_extents = 0;
  map->fm_extent_count = 1;
  map->fm_reserved = 0;
  if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0) return Error::from_errno(errno, "map extents");
  if (map->fm_mapped_extents == 0) return std::optional<struct fiemap_extent>();
  struct fiemap_extent extent {};
  std::memcpy(&extent, buffer.data() + sizeof(struct fiemap), sizeof extent);
  return std::optional(extent);
}

}  // namespace

bool PosixFile::is_sparse() const {
  struct stat st {};
  return !is_block_device_ && ::fstat(fd_, &st) == 0 &&
         static_cast<uint64_t>(st.st_blocks) * kSectorSize < size_.load();
}

bool PosixFile::map_has(uint64_t block_bytes) const {
  constexpr uint64_t kMostExtents = 4096;  // what is asked for must not take long
  const uint64_t size = size_.load();
  uint64_t shown = 0;
  uint64_t extents = 0;
  // Blocks of the map itself may be among those of the file.
  const auto expected = [&] {
    const uint64_t of_map = 8 * kKiB + extents * 16 + shown / 512;
    return std::min(block_bytes, size) - std::min(std::min(block_bytes, size), of_map);
  };
  KnownExtent extent;
  for (uint64_t at = 0; at < size && extents < kMostExtents; ++extents) {
    if (shown >= expected()) return true;
    extent = find_extent(at, extent);
    if (!extent.hole) shown += extent.end - at;
    at = extent.end;
  }
  if (extents == kMostExtents || shown >= expected()) return true;
  // What was only allocated is blocks, and zeros.
  return shown + unwritten_bytes(expected() - shown) >= expected();
}

uint64_t PosixFile::unwritten_bytes(uint64_t enough) const {
  constexpr uint64_t kMostExtents = 4096;
  uint64_t bytes = 0;
  uint64_t at = 0;
  for (uint64_t i = 0; i < kMostExtents && bytes < enough && at < size_.load(); ++i) {
    const auto extent = map_extent(fd_, at, size_.load() - at, FIEMAP_FLAG_SYNC);
    if (!extent || !*extent || (*extent)->fe_length == 0) break;
    if (((*extent)->fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0) bytes += (*extent)->fe_length;
    at = (*extent)->fe_logical + (*extent)->fe_length;
  }
  return bytes;
}

namespace {

// Whether the bytes on the device are the file's own, for others to share.
bool has_shared_bytes(const struct fiemap_extent& extent) {
  constexpr uint32_t kNoPlainBytes = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
                                     FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED |
                                     FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE |
                                     FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_UNWRITTEN;
  return (extent.fe_flags & FIEMAP_EXTENT_SHARED) != 0 && (extent.fe_flags & kNoPlainBytes) == 0;
}

}  // namespace

SharedExtent PosixFile::shared_at(uint64_t offset, uint64_t limit) const {
  const SharedExtent unknown{limit, {}};
  if (is_block_device_ || no_fiemap_.load()) return unknown;
  const std::scoped_lock lock(known_mutex_);
  if (!writable_ && known_unshared_.has(offset)) {
    return {std::min(limit, known_unshared_.end - offset), {}};
  }
  auto found = map_extent(fd_, offset, size() - offset, 0);
  // What is only in the page cache yet is still shown as shared: then ask again, behind a flush.
  if (found && *found && has_shared_bytes(**found)) {
    found = map_extent(fd_, offset, limit, FIEMAP_FLAG_SYNC);
  }
  if (!found) {
    no_fiemap_ = true;
    return unknown;
  }
  if (!*found) return unknown;
  const struct fiemap_extent& extent = **found;
  const uint64_t end = extent.fe_logical + extent.fe_length;
  if (extent.fe_logical <= offset && end > offset && has_shared_bytes(extent)) {
    return {std::min(limit, end - offset), extent.fe_physical + (offset - extent.fe_logical)};
  }
  const uint64_t next = extent.fe_logical > offset ? extent.fe_logical : end;
  if (next <= offset) return unknown;
  known_unshared_ = {offset, next, false};
  return {std::min(limit, next - offset), {}};
}

std::optional<uint64_t> PosixFile::space_left() const {
  struct statvfs fs {};
  if (is_block_device_ || ::fstatvfs(fd_, &fs) != 0) return std::nullopt;
  // Root may use what is kept back from the others.
  const uint64_t blocks = ::geteuid() == 0 ? fs.f_bfree : fs.f_bavail;
  return checked_mul(blocks, fs.f_frsize);
}

void PosixFile::will_need(uint64_t offset, uint64_t length) {
  if (reads_directly_) return;
  // The kernel reads no more for one call than the device's read-ahead window: 128 KiB by default.
  constexpr uint64_t kWindow = 128 * kKiB;
  for (uint64_t done = 0; done < length; done += kWindow) {
    ::posix_fadvise(fd_, static_cast<off_t>(offset + done),
                    static_cast<off_t>(std::min(length - done, kWindow)), POSIX_FADV_WILLNEED);
  }
}

void PosixFile::start_writeback(uint64_t offset, uint64_t length) {
  if (!leaves_cache_) return writeback_->start({offset, length});
  ::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                    SYNC_FILE_RANGE_WRITE);
  ByteRange before;
  {
    const std::lock_guard lock(written_mutex_);
    before = std::exchange(written_, {offset, length});
  }
  if (before.length == 0) return;
  // This one waits, and takes the error away from fdatasync.
  if (::sync_file_range(
          fd_, static_cast<off_t>(before.offset), static_cast<off_t>(before.length),
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
      errno != EINTR) {
    const std::lock_guard lock(flush_mutex_);
    keep_flush_failure(errno);
  }
  drop_pages(fd_, before.offset, before.length);
}

void PosixFile::leave_cache() {
  leaves_cache_ = true;
  reads_directly_ = direct_reader() != nullptr;
}

DirectReader* PosixFile::direct_reader() {
  std::call_once(direct_opened_, [this] { direct_ = DirectReader::open(fd_); });
  return direct_.get();
}

Result<void> PosixFile::read_medium(uint64_t offset, std::span<std::byte> out) {
  SNAP_TRY(check_within(offset, out.size()));
  if (auto* const direct = direct_reader()) return direct->read_at(offset, out, name_);
  // Large pages are dropped where they are covered wholly.
  constexpr uint64_t kLargePage = 2 * kMiB;
  const uint64_t start = round_down(offset, kLargePage);
  drop_pages(fd_, start, round_down(offset + out.size() - 1, kLargePage) + kLargePage - start);
  return read_at(offset, out);
}

bool PosixFile::forget_cache(uint64_t offset, uint64_t length) {
  const uint64_t size = size_.load();
  if (offset >= size || length == 0) return true;
  const bool whole = offset == 0 && length >= size;
  drop_pages(fd_, offset, whole ? 0 : length);
  const auto left = cached_pages(fd_, offset, std::min(length, size - offset));
  if (left && *left == 0) return true;
  if (!whole || direct_reader() == nullptr) return false;
  reads_directly_ = true;
  return true;
}

Result<void> flush_folder_of(const std::string& path) {
  const std::string folder = folder_of(path);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, fmt::format("cannot open folder '{}'", folder));
  const int err = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // EINVAL: a file system whose folders cannot be flushed.
  if (err != 0 && err != EINVAL)
    return Error::from_errno(err, fmt::format("flush folder '{}'", folder));
  return {};
}

}  // namespace snaptool
