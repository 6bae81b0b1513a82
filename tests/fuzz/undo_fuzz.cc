// SPDX-License-Identifier: Apache-2.0
// An undo file with any bytes changed, sums made to fit or not: nothing crashes, nothing is written
// out of bounds, and what is refused has written nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "libsnap/base/endian.h"
#include "libsnap/base/sha256.h"
#include "libsnap/snap/merge/merge.h"
#include "libsnap/snap/merge/undo.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr size_t kBlock = 4096;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Files {
  Bytes origin;
  Bytes cow;
  Bytes journal;
};

// A merge that was stopped after some phases.
Files merged_up_to(int phases) {
  std::mt19937_64 random(1);
  const NaiveStore store = make_store({512, 60 * 512, 40, false, false}, random);
  MemoryFile origin("origin", store.origin);
  MemoryFile cow("cow", store.cow);
  MemoryFile journal("journal");
  const Cancel cancel;
  Progress progress;
  const Job job{progress, cancel, 1};
  MergeOptions options;
  options.batch_bytes = 16 * 512;
  auto merge = Merge::begin(origin, cow, options, job);
  require(merge.has_value() && (*merge)->keep_undo(journal, job).has_value());
  for (int i = 0; i < phases; ++i) require((*merge)->step(job).has_value());
  return {content_of(origin), content_of(cow), content_of(journal)};
}

void seal(Bytes& bytes, size_t start, size_t used) {
  const auto digest = Sha256::of(std::span(bytes).subspan(start, used));
  std::copy(digest.begin(), digest.end(), bytes.begin() + static_cast<ptrdiff_t>(start + used));
}

// Sums that fit what is there: only then does the reader look at the values behind them.
void seal_all(Bytes& journal) {
  if (journal.size() < kBlock) return;
  seal(journal, 0, 40);
  for (size_t at = kBlock; at + kBlock <= journal.size(); at += kBlock) {
    if (journal[at] != std::byte{'U'} || journal[at + 4] != std::byte{'-'}) continue;
    const auto entries = load_le<uint64_t>(&journal[at + 32]);
    const auto ranges = load_le<uint64_t>(&journal[at + 40]);
    const auto bytes = load_le<uint64_t>(&journal[at + 48]);
    if (entries < 1000 && ranges < 1000 && bytes < 1000000) {
      const size_t tables = entries * 16 + ranges * 24 + (bytes + kMiB - 1) / kMiB * 32;
      if (at + kBlock + tables <= journal.size()) {
        const auto digest = Sha256::of(std::span(journal).subspan(at + kBlock, tables));
        std::copy(digest.begin(), digest.end(), journal.begin() + static_cast<ptrdiff_t>(at + 56));
      }
    }
    seal(journal, at, 88);
  }
}

void try_undo(const Files& start, const Bytes& changed) {
  MemoryFile origin("origin", start.origin);
  MemoryFile cow("cow", start.cow);
  MemoryFile journal("journal", changed);
  const Cancel cancel;
  Progress progress;
  const Job job{progress, cancel, 1};
  auto undo = Undo::begin(origin, cow, journal, job);
  if (!undo) {
    require(content_of(origin) == start.origin && content_of(cow) == start.cow);
    require(content_of(journal) == changed);
    return;
  }
  require((*undo)->run(job).has_value());
  require(origin.size() == start.origin.size() && cow.size() == start.cow.size());
}

void try_merge(const Files& start, const Bytes& changed) {
  MemoryFile origin("origin", start.origin);
  MemoryFile cow("cow", start.cow);
  MemoryFile journal("journal", changed);
  const Cancel cancel;
  Progress progress;
  const Job job{progress, cancel, 1};
  const Bytes view = NaiveStore::view_of(start.origin, start.cow);
  auto merge = Merge::begin(origin, cow, {}, job);
  require(merge.has_value());
  if (!(*merge)->keep_undo(journal, job)) {
    require(content_of(origin) == start.origin && content_of(cow) == start.cow);
    return;
  }
  require((*merge)->run(job).has_value());
  require(content_of(origin) == view);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(undo)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 2 || size > 4096) return 0;
  // Byte 0: how far the merge had come. Byte 1: what is done. Then changes: place (2), value (1).
  static const std::vector<Files> states = [] {
    std::vector<Files> all;
    for (const int phases : {1, 3, 4, 7, 12, 40}) all.push_back(merged_up_to(phases));
    return all;
  }();
  const Files& start = states[data[0] % states.size()];
  Bytes journal = start.journal;
  for (size_t i = 2; i + 3 <= size; i += 3) {
    const size_t place = (data[i] | data[i + 1] << 8) % journal.size();
    journal[place] = static_cast<std::byte>(data[i + 2]);
  }
  if ((data[1] & 1) != 0) seal_all(journal);
  if ((data[1] & 2) != 0) journal.resize(journal.size() / 2);
  if ((data[1] & 4) != 0) {
    try_merge(start, journal);
  } else {
    try_undo(start, journal);
  }
  return 0;
}
