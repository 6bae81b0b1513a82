// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/create.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/snap/store/defect.h"
#include "libsnap/snap/store/verify.h"

namespace snaptool {

Result<uint64_t> store_size_for(const Layout& layout, uint64_t exceptions) {
  const uint64_t areas = exceptions / layout.exceptions_per_area() + 1;
  const auto chunks = checked_add(exceptions, areas + kNumSnapshotHdrChunks);
  if (chunks && layout.chunk_offset(*chunks)) return *chunks * layout.chunk_bytes();
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("a store of {} chunks of {} is larger than any file", exceptions,
                           format_size(layout.chunk_bytes())));
}

uint64_t usable_store_size(const Layout& layout, uint64_t size) {
  uint64_t chunks = size / layout.chunk_bytes();
  if (chunks < 2) return 0;
  // The last chunk of an area's stride: behind it comes the next area.
  if (chunks > 2 && layout.is_metadata(chunks)) --chunks;
  return chunks * layout.chunk_bytes();
}

Result<void> create_store(File& cow, const Layout& layout) {
  const uint64_t chunk_bytes = layout.chunk_bytes();
  SNAP_CHECK(cow.size() / 2 >= chunk_bytes);
  // First nothing that can be taken for a store; a torn sector of it cannot be, either.
  constexpr std::array<std::byte, kSectorSize> kZeros{};
  SNAP_TRY(cow.write_at(0, kZeros));
  SNAP_TRY(cow.flush());
  SNAP_TRY(cow.zero_at(0, 2 * chunk_bytes, ZeroMode::kKeep));
  SNAP_TRY(cow.flush());
  std::array<std::byte, kSectorSize> sector{};
  const DiskHeader header{kSnapMagic, 1, kSnapshotDiskVersion,
                          static_cast<uint32_t>(layout.chunk_sectors())};
  encode_header(header, std::span(sector).first<kDiskHeaderSize>());
  SNAP_TRY(cow.write_at(0, sector));
  return cow.flush();
}

Result<uint64_t> minimum_store_size(File& cow, const Cancel& cancel) {
  SNAP_ASSIGN(const VerifyReport report, verify_store(cow, std::nullopt, cancel));
  if (report.count(DefectCode::kNoStore) > 0) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a store yet: its magic is 0", cow.name()));
  }
  if (const auto refusal = refusal_of(report, cow, "is not resized", true)) return *refusal;
  if (report.count(DefectCode::kLiveBehindTerminator) > 0) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' is not resized: entries lie past the end of its list, and their "
                             "data might be cut away",
                             cow.name()))
        .with_remedy(Remedy::kListDefects);
  }
  SNAP_ASSIGN(PersistentStore store, PersistentStore::open(cow));
  SNAP_TRY(store.read_metadata(cancel));
  // next_free may have skipped an area that comes behind the last data chunk.
  uint64_t chunks = store.next_free();
  if (store.layout().is_metadata(chunks - 1)) --chunks;
  chunks = std::max(chunks, *store.layout().area_location(store.current_area()) + 1);
  return chunks * store.chunk_bytes();
}

}  // namespace snaptool
