// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/tail.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/io_bytes.h"

namespace snaptool {

bool lies_within(const PersistentStore& store, const Exception& entry, uint64_t origin_size) {
  const auto source = store.layout().chunk_offset(entry.new_chunk);
  const auto target = store.layout().chunk_offset(entry.old_chunk);
  return source && entry.new_chunk < store.cow_chunks() && target && *target < origin_size;
}

Result<bool> has_data_of(Image& origin, uint64_t target, PersistentStore& store, uint64_t source,
                         uint64_t length, const Cancel& cancel) {
  RawBytes ours(std::min(length, kIoPiece));
  RawBytes theirs(ours.size());
  for (uint64_t done = 0; done < length; done += ours.size()) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const uint64_t piece = std::min<uint64_t>(ours.size(), length - done);
    ours.resize(piece);
    theirs.resize(piece);
    SNAP_TRY(store.cow().read_at(source + done, ours));
    SNAP_TRY(origin.read_medium(target + done, theirs));
    if (ours != theirs) return false;
  }
  return true;
}

namespace {

// Whether the origin has the data of the entry.
Result<bool> on_origin(PersistentStore& store, Image& origin, const Exception& entry,
                       const Cancel& cancel) {
  const uint64_t chunk_bytes = store.layout().chunk_bytes();
  const uint64_t origin_size = round_down(origin.size(), kSectorSize);
  if (!lies_within(store, entry, origin_size)) return false;
  const uint64_t target = entry.old_chunk * chunk_bytes;
  return has_data_of(origin, target, store, entry.new_chunk * chunk_bytes,
                     std::min(chunk_bytes, origin_size - target), cancel);
}

}  // namespace

Result<TailCheck> check_tail(PersistentStore& store, Image& origin, const Cancel& cancel,
                             const TailKeeper& keeper) {
  std::vector<Exception> tail;
  SNAP_TRY(store.visit_tail([&](uint64_t, Exception entry) {
    if (entry.new_chunk != 0) tail.push_back(entry);
  }));
  std::sort(tail.begin(), tail.end(),
            [](const Exception& a, const Exception& b) { return a.old_chunk < b.old_chunk; });
  TailCheck check{tail.size(), std::nullopt};
  for (const Exception& entry : tail) {
    SNAP_ASSIGN(bool there, on_origin(store, origin, entry, cancel));
    if (!there && keeper) {
      SNAP_ASSIGN(there, keeper(origin, store, entry));
    }
    if (there) continue;
    check.missing = entry;
    break;
  }
  return check;
}

Result<std::optional<std::string>> doubt_of_tail(PersistentStore& store, Image& origin,
                                                 const Cancel& cancel) {
  SNAP_ASSIGN(const TailCheck tail, check_tail(store, origin, cancel));
  if (!tail.missing) return std::optional<std::string>();
  return std::optional(fmt::format(
      "{} lie{} past the end of the list of '{}', and the origin does not have the data of "
      "origin chunk {:#x}: was the beginning of the list wiped?",
      counted(tail.entries, "entry"), tail.entries == 1 ? "s" : "", store.cow().name(),
      tail.missing->old_chunk));
}

}  // namespace snaptool
