// SPDX-License-Identifier: Apache-2.0
#include "tests/support/model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace snaptool::test {
namespace {

void put(Bytes& bytes, uint64_t at, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) bytes.at(at + i) = static_cast<std::byte>(value >> (8 * i));
}

uint64_t get(const Bytes& bytes, uint64_t at, int size) {
  uint64_t value = 0;
  for (int i = size - 1; i >= 0; --i) value = value << 8 | static_cast<uint64_t>(bytes.at(at + i));
  return value;
}

}  // namespace

void NaiveStore::write_metadata() {
  std::fill_n(cow.begin(), chunk_bytes, std::byte{0});
  put(cow, 0, 0x70416e53, 4);
  put(cow, 4, 1, 4);
  put(cow, 8, 1, 4);
  put(cow, 12, chunk_bytes / 512, 4);
  const uint64_t areas = entries.size() / per_area() + 1;
  for (uint64_t area = 0; area < areas; ++area) {
    const uint64_t at = (1 + area * (per_area() + 1)) * chunk_bytes;
    for (uint64_t i = 0; i < chunk_bytes; ++i) cow.at(at + i) = std::byte{0};
  }
  for (uint64_t i = 0; i < entries.size(); ++i) {
    const uint64_t at = (1 + i / per_area() * (per_area() + 1)) * chunk_bytes + i % per_area() * 16;
    put(cow, at, entries[i].first, 8);
    put(cow, at + 8, entries[i].second, 8);
  }
}

Bytes NaiveStore::view() const {
  Bytes bytes(origin.begin(), origin.begin() + static_cast<ptrdiff_t>(origin.size() / 512 * 512));
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const uint64_t to = entry->first * chunk_bytes;
    const uint64_t from = entry->second * chunk_bytes;
    if (to >= bytes.size()) continue;
    const uint64_t length = std::min(chunk_bytes, bytes.size() - to);
    static_cast<void>(cow.at(from + length - 1));  // throws where the COW ends before
    std::copy_n(cow.begin() + static_cast<ptrdiff_t>(from), length,
                bytes.begin() + static_cast<ptrdiff_t>(to));
  }
  return bytes;
}

std::vector<std::pair<uint64_t, uint64_t>> NaiveStore::read_entries(const Bytes& cow) {
  std::vector<std::pair<uint64_t, uint64_t>> entries;
  const uint64_t chunk_bytes = get(cow, 12, 4) * 512;
  const uint64_t per_area = chunk_bytes / 16;
  for (uint64_t i = 0;; ++i) {
    const uint64_t at = (1 + i / per_area * (per_area + 1)) * chunk_bytes + i % per_area * 16;
    const uint64_t new_chunk = get(cow, at + 8, 8);
    if (new_chunk == 0) return entries;
    entries.emplace_back(get(cow, at, 8), new_chunk);
  }
}

Bytes NaiveStore::view_of(const Bytes& origin, const Bytes& cow) {
  NaiveStore store;
  store.chunk_bytes = get(cow, 12, 4) * 512;
  store.origin = origin;
  store.cow = cow;
  store.entries = read_entries(cow);
  return store.view();
}

Bytes random_bytes(size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random();
    for (size_t k = i; k < std::min(size, i + 8); ++k)
      bytes[k] = static_cast<std::byte>(word >> (8 * (k - i)));
  }
  return bytes;
}

NaiveStore make_store(const StoreShape& shape, std::mt19937_64& random) {
  NaiveStore store;
  store.chunk_bytes = shape.chunk_bytes;
  store.origin = random_bytes(shape.origin_bytes, random);
  const uint64_t origin_chunks =
      (shape.origin_bytes / 512 * 512 + shape.chunk_bytes - 1) / shape.chunk_bytes;
  if (shape.exceptions > origin_chunks) std::abort();
  std::vector<uint64_t> old_chunks(origin_chunks);
  std::iota(old_chunks.begin(), old_chunks.end(), uint64_t{0});
  if (!shape.sequential) std::shuffle(old_chunks.begin(), old_chunks.end(), random);

  const uint64_t stride = store.per_area() + 1;
  std::vector<uint64_t> new_chunks;
  for (uint64_t chunk = 2; new_chunks.size() < shape.exceptions; ++chunk) {
    if (chunk % stride == 1) continue;
    if (!shape.in_order && random() % 8 == 0) continue;  // a hole, as a crash leaves
    new_chunks.push_back(chunk);
  }
  uint64_t last = std::max<uint64_t>(1, new_chunks.empty() ? 0 : new_chunks.back());
  last = std::max(last, 1 + shape.exceptions / store.per_area() * stride);  // the terminator's area
  if (!shape.in_order) std::shuffle(new_chunks.begin(), new_chunks.end(), random);
  const uint64_t tail = random() % 3 * 512 % shape.chunk_bytes;  // a part chunk at the end
  store.cow = random_bytes((last + 1 + random() % 3) * shape.chunk_bytes + tail, random);
  for (uint64_t i = 0; i < shape.exceptions; ++i)
    store.entries.emplace_back(old_chunks[i], new_chunks[i]);
  store.write_metadata();
  return store;
}

Bytes content_of(File& file) {
  Bytes bytes(file.size());
  if (!file.read_at(0, bytes)) std::abort();
  return bytes;
}

}  // namespace snaptool::test
