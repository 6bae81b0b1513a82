// SPDX-License-Identifier: Apache-2.0
// bench_floor_compare A B: the floor that a comparison is measured against. Two threads, each with
// its half of two files of the same size: pread, memcmp, and nothing else. Exits 1 when they
// differ.

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <thread>

#include "tests/bench/bench_io.h"

namespace snaptool::bench {
namespace {

// Larger ones gain nothing; memory that begins within a page, as malloc's does, costs half as much
// time again.
constexpr uint64_t kPieceBytes = 512 * 1024;
constexpr std::align_val_t kPage{4096};

struct PageDeleter {
  void operator()(std::byte* memory) const { ::operator delete[](memory, kPage); }
};
using Buffer = std::unique_ptr<std::byte[], PageDeleter>;
Buffer make_buffer() { return Buffer(new (kPage) std::byte[kPieceBytes]); }

void compare(const DiskFile& a, const DiskFile& b, uint64_t from, uint64_t to,
             std::atomic<bool>& equal) {
  const Buffer one = make_buffer();
  const Buffer other = make_buffer();
  for (uint64_t at = from; at < to; at += kPieceBytes) {
    const uint64_t length = std::min(kPieceBytes, to - at);
    a.read_at(at, {one.get(), length});
    b.read_at(at, {other.get(), length});
    if (std::memcmp(one.get(), other.get(), length) != 0) equal = false;
  }
}

bool files_are_equal(const char* path_a, const char* path_b) {
  const DiskFile a(path_a, O_RDONLY);
  const DiskFile b(path_b, O_RDONLY);
  const uint64_t size = a.size();
  if (b.size() != size) return false;
  std::atomic<bool> equal = true;
  const uint64_t middle = size / 2;
  std::thread second([&] { compare(a, b, middle, size, equal); });
  compare(a, b, 0, middle, equal);
  second.join();
  return equal;
}

}  // namespace
}  // namespace snaptool::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("Usage: bench_floor_compare A B\n", stderr);
    return 64;
  }
  return snaptool::bench::files_are_equal(argv[1], argv[2]) ? 0 : 1;
}
