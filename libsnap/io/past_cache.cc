// SPDX-License-Identifier: Apache-2.0
#include "libsnap/io/past_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/units.h"

namespace snaptool {
namespace {

uint64_t page_bytes() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

#ifdef STATX_DIOALIGN
struct Alignment {
  uint64_t offset = 0;  // 0: no direct reads
  uint64_t memory = 0;
};

Alignment alignment_of(int fd) {
  struct statx about {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &about) != 0 ||
      (about.stx_mask & STATX_DIOALIGN) == 0) {
    return {};
  }
  return {about.stx_dio_offset_align, about.stx_dio_mem_align};
}
#endif

}  // namespace

DirectReader::DirectReader(int fd, uint64_t offset_align, uint64_t memory_align)
    : fd_(fd),
      offset_align_(offset_align),
      memory_align_(memory_align),
      buffers_(kIoPiece + 2 * offset_align) {}

DirectReader::~DirectReader() { ::close(fd_); }

std::unique_ptr<DirectReader> DirectReader::open(int fd) {
#ifdef STATX_DIOALIGN
  // Buffers begin where a page does.
  const Alignment align = alignment_of(fd);
  if (align.offset == 0 || align.memory > static_cast<size_t>(kPage)) return nullptr;
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  const int direct = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (direct < 0) return nullptr;
  return std::unique_ptr<DirectReader>(new DirectReader(direct, align.offset, align.memory));
#else
  (void)fd;
  return nullptr;
#endif
}

bool DirectReader::fits(uint64_t offset, std::span<const std::byte> out) const {
  const auto address = reinterpret_cast<uintptr_t>(out.data());  // NOLINT: only its low bits count
  return offset % offset_align_ == 0 && out.size() % offset_align_ == 0 &&
         address % memory_align_ == 0;
}

// At least one byte.
Result<uint64_t> DirectReader::read_some(uint64_t offset, std::span<std::byte> out,
                                         const std::string& name) {
  while (true) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got > 0) return static_cast<uint64_t>(got);
    if (got == 0) {
      return Error(
          ErrorCode::kCorruption,
          fmt::format("'{}' became shorter while it was read: nothing at byte {}", name, offset));
    }
    if (errno != EINTR) {
      return Error::from_errno(
          errno, fmt::format("read '{}' at byte {}, past the page cache", name, offset));
    }
  }
}

Result<void> DirectReader::read_at(uint64_t offset, std::span<std::byte> out,
                                   const std::string& name) {
  while (!out.empty()) {
    if (fits(offset, out)) {
      SNAP_ASSIGN(const uint64_t got, read_some(offset, out, name));
      offset += got;
      out = out.subspan(got);
      continue;
    }
    BufferPool::Lease lease(buffers_);
    const uint64_t start = round_down(offset, offset_align_);
    const uint64_t wanted = std::min<uint64_t>(out.size(), kIoPiece) + (offset - start);
    const auto buffer = lease.bytes().first(div_round_up(wanted, offset_align_) * offset_align_);
    uint64_t there = 0;
    while (there < wanted) {
      SNAP_ASSIGN(const uint64_t got, read_some(start + there, buffer.subspan(there), name));
      there += got;
    }
    const uint64_t piece = wanted - (offset - start);
    std::memcpy(out.data(), &buffer[offset - start], piece);
    offset += piece;
    out = out.subspan(piece);
  }
  return {};
}

void drop_pages(int fd, uint64_t offset, uint64_t length) {
  ::posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
}

namespace {

// Since Linux 6.5; the C library has no name for it yet.
std::optional<uint64_t> count_by_cachestat(int fd, uint64_t offset, uint64_t length) {
  constexpr long kCachestat = 451;  // on every architecture
  struct Range {
    uint64_t offset;
    uint64_t length;
  };
  struct Counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
  };
  const Range range{offset, length};
  Counts counts{};
  if (::syscall(kCachestat, fd, &range, &counts, 0) != 0) return std::nullopt;
  return counts.cached;
}

std::optional<uint64_t> count_by_mincore(int fd, uint64_t offset, uint64_t length) {
  constexpr uint64_t kStretch = 4 * kGiB;  // mapped at once: a MiB of answers
  const uint64_t page = page_bytes();
  uint64_t count = 0;
  std::vector<unsigned char> pages;
  for (uint64_t at = round_down(offset, page); at < offset + length; at += kStretch) {
    const uint64_t size = std::min(kStretch, offset + length - at);
    void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(at));
    if (mapped == MAP_FAILED) return std::nullopt;
    pages.assign(div_round_up(size, page), 0);
    const bool told = ::mincore(mapped, size, pages.data()) == 0;
    ::munmap(mapped, size);
    if (!told) return std::nullopt;
    count += static_cast<uint64_t>(std::count_if(
        pages.begin(), pages.end(), [](unsigned char one) { return (one & 1U) != 0; }));
  }
  return count;
}

}  // namespace

std::optional<uint64_t> cached_pages(int fd, uint64_t offset, uint64_t length) {
  if (length == 0) return 0;
  const auto count = count_by_cachestat(fd, offset, length);
  if (count && *count > 0) return count;
  // Of a file of overlayfs, cachestat sees none of the pages, which are those of the file below.
  const auto mapped = count_by_mincore(fd, offset, length);
  return mapped ? mapped : count;
}

}  // namespace snaptool
