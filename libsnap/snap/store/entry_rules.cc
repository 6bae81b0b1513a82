// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/entry_rules.h"

#include <fmt/format.h>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/counted.h"

namespace snaptool {

EntryRules::EntryRules(const Layout& layout, uint64_t cow_chunks,
                       std::optional<uint64_t> origin_size)
    : layout_(layout), cow_chunks_(cow_chunks), origin_known_(origin_size.has_value()) {
  // A chunk that is only partly there counts, but not the bytes after the origin's last whole
  // sector.
  const uint64_t bytes = round_down(origin_size.value_or(kMaxFileSize), kSectorSize);
  origin_chunks_ = div_round_up(bytes, layout.chunk_bytes());
}

std::optional<Finding> EntryRules::old_defect(uint64_t area, uint64_t index,
                                              const Exception& entry) const {
  if (entry.old_chunk < origin_chunks_) return std::nullopt;
  return at(DefectCode::kOldBeyondOrigin, area, index, entry,
            origin_known_ ? fmt::format("origin chunk {:#x} does not exist: the origin has {}",
                                        entry.old_chunk, counted(origin_chunks_, "chunk"))
                          : fmt::format("origin chunk {:#x} cannot exist: no origin is that large",
                                        entry.old_chunk));
}

std::optional<Finding> EntryRules::new_defect(uint64_t area, uint64_t index,
                                              const Exception& entry) const {
  if (entry.new_chunk >= kNewChunkLimit) {
    return at(DefectCode::kNewHighByte, area, index, entry,
              fmt::format("data chunk {:#x} is 2^56 or more", entry.new_chunk));
  }
  if (entry.new_chunk >= cow_chunks_) {
    return at(DefectCode::kNewBeyondCow, area, index, entry,
              fmt::format("data chunk {:#x} does not exist: the COW has {}", entry.new_chunk,
                          counted(cow_chunks_, "chunk")));
  }
  if (layout_.is_metadata(entry.new_chunk)) {
    return at(DefectCode::kNewIsMetadata, area, index, entry,
              fmt::format("data chunk {} is where metadata belong", entry.new_chunk));
  }
  return std::nullopt;
}

Finding EntryRules::at(DefectCode code, uint64_t area, uint64_t index, const Exception& entry,
                       std::string message) const {
  const uint64_t area_offset = *layout_.area_location(area) * layout_.chunk_bytes();
  return {code,
          area,
          index,
          entry.old_chunk,
          entry.new_chunk,
          area_offset + index * kDiskExceptionSize,
          std::move(message)};
}

}  // namespace snaptool
