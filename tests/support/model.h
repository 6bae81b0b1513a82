// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "libsnap/io/memory_file.h"

namespace snaptool::test {

using Bytes = std::vector<std::byte>;

// The standard library compares std::byte one by one, and the crash tests do little else.
inline bool operator==(const Bytes& a, const Bytes& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// A naive dm-snapshot: whole images in vectors, written out byte by byte after
// libsnap/snap/store/FORMAT.md. It shares no code with the library, so that the library is checked
// against the format and not against itself.
struct NaiveStore {
  uint64_t chunk_bytes = 4096;
  Bytes origin;
  Bytes cow;
  std::vector<std::pair<uint64_t, uint64_t>> entries;  // (old, new), in list order

  uint64_t per_area() const { return chunk_bytes / 16; }
  // Writes header and areas into `cow` from `entries`. Areas and data chunks must fit.
  void write_metadata();
  // What a reader sees: for each origin chunk the first entry's data, otherwise the origin.
  Bytes view() const;
  // The live entries, read back from arbitrary bytes: nothing is checked.
  static std::vector<std::pair<uint64_t, uint64_t>> read_entries(const Bytes& cow);
  static Bytes view_of(const Bytes& origin, const Bytes& cow);
};

struct StoreShape {
  uint64_t chunk_bytes = 4096;
  uint64_t origin_bytes = 0;
  uint64_t exceptions = 0;
  bool in_order = false;    // new chunks in allocation order, without holes
  bool sequential = false;  // old chunks 0, 1, 2, ...
};

Bytes random_bytes(size_t size, std::mt19937_64& random);

// A store of that shape over random data; the COW is filled with junk first, as a used device would
// be. Requires: exceptions <= chunks of the origin.
NaiveStore make_store(const StoreShape& shape, std::mt19937_64& random);

Bytes content_of(File& file);

}  // namespace snaptool::test
