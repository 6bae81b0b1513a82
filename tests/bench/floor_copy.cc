// SPDX-License-Identifier: Apache-2.0
// bench_floor_copy ORIGIN COW: the floor that a merge is measured against. Reads a store's list of
// exceptions, trusting it, then copies their chunks to the origin as a plain author would: one
// thread, in list order, one pread and one pwrite a chunk; and one fdatasync at the end. COW is not
// emptied, and nothing here is safe against a crash.

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "tests/bench/bench_io.h"

namespace snaptool::bench {
namespace {

using Entry = std::pair<uint64_t, uint64_t>;  // origin chunk, COW chunk

std::vector<Entry> read_entries(const DiskFile& cow, uint64_t chunk_bytes) {
  const uint64_t per_area = chunk_bytes / kEntryBytes;
  std::vector<Entry> entries;
  std::vector<std::byte> area(chunk_bytes);
  for (uint64_t number = 0;; ++number) {
    cow.read_at((1 + number * (per_area + 1)) * chunk_bytes, area);
    for (uint64_t i = 0; i < per_area; ++i) {
      const std::byte* entry = &area[i * kEntryBytes];
      const auto new_chunk = get_le<uint64_t>(entry + 8);
      if (new_chunk == 0) return entries;
      entries.emplace_back(get_le<uint64_t>(entry), new_chunk);
    }
  }
}

void merge(const char* origin_path, const char* cow_path) {
  DiskFile origin(origin_path, O_RDWR);
  const DiskFile cow(cow_path, O_RDONLY);
  std::vector<std::byte> header(kEntryBytes);
  cow.read_at(0, header);
  const uint64_t chunk_bytes = get_le<uint32_t>(&header[12]) * kSectorBytes;
  if (get_le<uint32_t>(header.data()) != kMagic || !std::has_single_bit(chunk_bytes) ||
      chunk_bytes > kMaxChunkBytes) {
    fail(std::string(cow_path) + " is not a dm-snapshot store");
  }

  const uint64_t origin_bytes = origin.size();
  std::vector<std::byte> chunk(chunk_bytes);
  for (const auto& [old_chunk, new_chunk] : read_entries(cow, chunk_bytes)) {
    const uint64_t target = old_chunk * chunk_bytes;
    if (target >= origin_bytes) fail(std::string(origin_path) + " is too small for this store");
    const auto part = std::span(chunk).first(std::min(chunk_bytes, origin_bytes - target));
    cow.read_at(new_chunk * chunk_bytes, part);
    origin.write_at(target, part);
  }
  origin.sync_data();
}

}  // namespace
}  // namespace snaptool::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("Usage: bench_floor_copy ORIGIN COW\n", stderr);
    return 64;
  }
  snaptool::bench::merge(argv[1], argv[2]);
  return 0;
}
