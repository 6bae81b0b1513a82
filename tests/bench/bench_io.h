// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

// The little that the programs of this folder share. They use nothing of libsnap: the one is to
// make input that libsnap had no hand in, the other is what libsnap is measured against.
namespace snaptool::bench {

inline constexpr uint32_t kMagic = 0x70416e53;  // "SnAp" in the file
inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint64_t kEntryBytes = 16;
inline constexpr uint64_t kMaxChunkBytes = uint64_t{1} << 30;

[[noreturn]] inline void fail(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  std::exit(1);
}

[[noreturn]] inline void fail_errno(const std::string& what) {
  fail(what + ": " + std::strerror(errno));
}

template <typename Int>
void put_le(std::byte* out, Int value) {
  for (size_t i = 0; i < sizeof(Int); ++i) {
    out[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
  }
}

template <typename Int>
void put_be(std::byte* out, Int value) {
  for (size_t i = 0; i < sizeof(Int); ++i) {
    out[i] = static_cast<std::byte>((value >> (8 * (sizeof(Int) - 1 - i))) & 0xff);
  }
}

template <typename Int>
Int get_le(const std::byte* bytes) {
  Int value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) {
    value = static_cast<Int>(value | (std::to_integer<Int>(bytes[i]) << (8 * i)));
  }
  return value;
}

// A file that is open until the object goes. Every error ends the program.
class DiskFile {
 public:
  DiskFile(std::string path, int flags) : path_(std::move(path)) {
    fd_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
    if (fd_ < 0) fail_errno("open " + path_);
  }
  ~DiskFile() { ::close(fd_); }
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;

  int fd() const { return fd_; }

  uint64_t size() const {
    const off_t end = ::lseek(fd_, 0, SEEK_END);
    if (end < 0) fail_errno("size of " + path_);
    return static_cast<uint64_t>(end);
  }

  void resize(uint64_t size) {
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail_errno("resize " + path_);
  }

  void read_at(uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_errno("read " + path_);
      if (got == 0) fail(path_ + " ends too early");
      out = out.subspan(static_cast<size_t>(got));
      offset += static_cast<uint64_t>(got);
    }
  }

  void write_at(uint64_t offset, std::span<const std::byte> data) {
    while (!data.empty()) {
      const ssize_t put = ::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail_errno("write " + path_);
      data = data.subspan(static_cast<size_t>(put));
      offset += static_cast<uint64_t>(put);
    }
  }

  void sync_data() {
    if (::fdatasync(fd_) != 0) fail_errno("fdatasync " + path_);
  }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace snaptool::bench
