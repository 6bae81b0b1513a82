// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/repair/salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <random>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/counted.h"
#include "libsnap/base/endian.h"
#include "libsnap/snap/store/duplicate_finder.h"

namespace snaptool {
namespace {

constexpr uint64_t kPieceEntries = kIoPiece / kDiskExceptionSize;
constexpr uint64_t kMostOldChunk = uint64_t{1} << 54;  // 2^63 bytes in chunks of 512
// So many bad entries make an area a destroyed one, if most are bad.
constexpr uint64_t kFewestBad = 8;
constexpr uint64_t kAreasLookedAt = 64;  // behind the end of the list, for what may be left there

// What stands for an entry in a sector that cannot be read: it can be none.
constexpr Exception kUnreadable{UINT64_MAX, UINT64_MAX};
constexpr uint64_t kEntriesPerSector = kSectorSize / kDiskExceptionSize;

// A guess looks at the first entries of the first areas.
constexpr uint64_t kGuessAreas = 16;
constexpr uint64_t kGuessEntries = 256;

// Where the kernel puts the data of an area's entries: right behind it. It allocates and commits in
// one order, but an entry of a crashed commit, or one that old kernels made, can lie an area off.
bool is_near(const Layout& layout, uint64_t area, uint64_t new_chunk) {
  const uint64_t location = *layout.area_location(area);
  const uint64_t stride = layout.exceptions_per_area() + 1;
  const uint64_t begin = location > stride ? location - stride : kNumSnapshotHdrChunks + 1;
  return new_chunk >= begin && new_chunk < location + 2 * stride && !layout.is_metadata(new_chunk);
}

bool is_sound(const Layout& layout, uint64_t cow_chunks, const Exception& entry) {
  return entry.old_chunk < kMostOldChunk && entry.new_chunk < cow_chunks &&
         !layout.is_metadata(entry.new_chunk);
}

std::optional<Layout> layout_of(uint64_t chunk_sectors) {
  if (!std::has_single_bit(chunk_sectors) || chunk_sectors > kMaxChunkSectors) return std::nullopt;
  return Layout(chunk_sectors);
}

std::string describe(const std::vector<ChunkSizeGuess>& guesses) {
  std::string text;
  for (const ChunkSizeGuess& guess : guesses) {
    if (!text.empty()) text += ", ";
    text +=
        fmt::format("{} ({} fit{}, {} do not)", format_size(guess.chunk_sectors * kSectorSize),
                    counted(guess.fitting, "entry"), guess.fitting == 1 ? "s" : "", guess.others);
  }
  return text;
}

}  // namespace

Result<std::vector<ChunkSizeGuess>> guess_chunk_sizes(File& cow) {
  std::vector<ChunkSizeGuess> guesses;
  std::vector<std::byte> bytes;
  for (uint64_t sectors = 1; sectors <= kMaxChunkSectors; sectors *= 2) {
    const Layout layout(sectors);
    const uint64_t cow_chunks = cow.size() / layout.chunk_bytes();
    ChunkSizeGuess guess{sectors, 0, 0};
    for (uint64_t area = 0; area < kGuessAreas; ++area) {
      const uint64_t location = *layout.area_location(area);
      if (location >= cow_chunks) break;
      bytes.resize(std::min(layout.exceptions_per_area(), kGuessEntries) * kDiskExceptionSize);
      if (!cow.read_at(location * layout.chunk_bytes(), bytes)) continue;
      for (size_t at = 0; at < bytes.size(); at += kDiskExceptionSize) {
        const Exception entry = decode_exception(&bytes[at]);
        if (entry == Exception{}) continue;
        // The chunk that the kernel takes for this very entry, if nothing was ever lost.
        const uint64_t expected = location + 1 + at / kDiskExceptionSize;
        const bool fits = entry.new_chunk == expected && entry.old_chunk < kMostOldChunk;
        ++(fits ? guess.fitting : guess.others);
      }
    }
    if (guess.fitting > 0) guesses.push_back(guess);
  }
  std::stable_sort(guesses.begin(), guesses.end(),
                   [](const auto& a, const auto& b) { return a.fitting > b.fitting; });
  return guesses;
}

Result<Salvage> Salvage::open(File& cow, const SalvageOptions& options) {
  Salvage salvage(cow, options);
  if (cow.size() < 2 * kSectorSize) {
    return Error(ErrorCode::kCorruption, fmt::format("'{}' has {}: no store is that small",
                                                     cow.name(), counted(cow.size(), "byte")));
  }
  std::array<std::byte, kLinux24HeaderSize> bytes{};
  if (const auto read = cow.read_at(0, bytes); !read) {
    bytes.fill(std::byte{0xff});
    salvage.header_findings_.push_back(header_finding(
        DefectCode::kBadMagic, fmt::format("it cannot be read: {}", read.error().describe())));
  }
  const DiskHeader header = decode_header(std::span(bytes).first<kDiskHeaderSize>());
  const auto found = layout_of(header.chunk_size);
  auto& findings = salvage.header_findings_;
  if (is_linux_2_4_header(bytes)) {
    return Error(ErrorCode::kUnsupported, fmt::format("'{}' {}", cow.name(), kLinux24Message));
  }
  if (!findings.empty()) {
    // It could not be read.
  } else if (header.magic == 0) {
    findings.push_back(header_finding(DefectCode::kNoStore,
                                      "its magic is 0: it was wiped, or there never was a store"));
  } else if (header.magic != kSnapMagic) {
    findings.push_back(header_finding(
        DefectCode::kBadMagic,
        fmt::format("its magic is {:#010x}, not {:#010x} (\"SnAp\")", header.magic, kSnapMagic)));
  } else {
    salvage.invalid_ = header.valid == 0;
    if (!found) {
      findings.push_back(header_finding(
          DefectCode::kBadChunkSize,
          fmt::format("its chunk size is {} sectors, which cannot be", header.chunk_size)));
    }
    if (header.version != kSnapshotDiskVersion) {
      findings.push_back(header_finding(DefectCode::kBadVersion,
                                        fmt::format("its version is {}", header.version)));
    }
    if (header.valid > 1) {
      findings.push_back(
          header_finding(DefectCode::kValidNotOne, fmt::format("valid is {}", header.valid)));
    }
  }
  if (options.chunk_sectors) {
    salvage.layout_.emplace(*options.chunk_sectors);
    salvage.chunk_size_from_ = ChunkSizeFrom::kCaller;
  } else if (header.magic == kSnapMagic && found) {
    salvage.layout_ = found;
  } else {
    SNAP_TRY(salvage.settle_chunk_size());
  }
  if (salvage.cow_chunks() < 2) {
    return Error(
        ErrorCode::kCorruption,
        fmt::format("'{}' ends before its first area: there is nothing to keep", cow.name()));
  }
  return salvage;
}

Result<void> Salvage::settle_chunk_size() {
  SNAP_ASSIGN(guesses_, guess_chunk_sizes(*cow_));
  chunk_size_from_ = ChunkSizeFrom::kAreas;
  const std::string_view name = cow_->name();
  if (guesses_.empty()) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' {}, and nothing in it looks like an area", name,
                             header_findings_.front().message))
        .with_remedy(Remedy::kNameChunkSize);
  }
  const ChunkSizeGuess& best = guesses_.front();
  if (guesses_.size() > 1 && best.fitting < 2 * guesses_[1].fitting) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' {}, and its chunk size is not known: {}", name,
                             header_findings_.front().message, describe(guesses_)))
        .with_remedy(Remedy::kNameChunkSize);
  }
  layout_.emplace(best.chunk_sectors);
  return {};
}

// What an area's entries look like.
struct Salvage::AreaCounts {
  uint64_t live = 0;  // entries before the first whose new chunk is 0
  uint64_t live_bad = 0;
  uint64_t behind = 0;  // such behind it as are not all zero
  uint64_t behind_bad = 0;
  uint64_t behind_near = 0;  // and such as the kernel could have made
  // Somebody wrote something else over it.
  bool destroyed() const {
    return live_bad * 2 > live &&
           (live_bad >= kFewestBad || (behind_bad * 2 > behind && behind_bad >= kFewestBad));
  }
};

// One way through the areas.
class Salvage::Walk {
 public:
  // An entry that may be kept, as far as it can be told from itself.
  using Candidate = std::function<Result<void>(uint64_t area, uint64_t index, const Exception&)>;

  Walk(Salvage& salvage, const Candidate& candidate, const Drop& drop, const Cancel& cancel)
      : salvage_(salvage),
        layout_(salvage.layout()),
        cow_chunks_(salvage.cow_chunks()),
        rules_(layout_, cow_chunks_, salvage.options_.origin_size),
        candidate_(candidate),
        drop_(drop),
        cancel_(cancel) {}

  Result<void> run() {
    salvage_.taken_beyond_ = 0;
    salvage_.left_beyond_end_ = 0;
    SNAP_TRY(walk_list());
    return salvage_.options_.beyond_end ? take_beyond() : look_beyond();
  }

 private:
  bool exists(uint64_t area) const {
    const auto location = layout_.area_location(area);
    return location && *location < cow_chunks_;
  }

  bool is_near_and_there(uint64_t area, const Exception& entry) const {
    return is_sound(layout_, cow_chunks_, entry) && is_near(layout_, area, entry.new_chunk);
  }

  // Calls for entries [first, per) of an area, in pieces.
  using PieceVisitor = std::function<Result<bool>(uint64_t first, std::span<const Exception>)>;
  Result<void> read_area(uint64_t area, uint64_t first, const PieceVisitor& visit) {
    const uint64_t base = *layout_.area_location(area) * layout_.chunk_bytes();
    const uint64_t per_area = layout_.exceptions_per_area();
    while (first < per_area) {
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      entries_.resize(std::min(per_area - first, kPieceEntries));
      bytes_.resize(entries_.size() * kDiskExceptionSize);
      SNAP_TRY(read_what_can_be(base + first * kDiskExceptionSize));
      for (size_t i = 0; i < entries_.size(); ++i) {
        entries_[i] = decode_exception(&bytes_[i * kDiskExceptionSize]);
      }
      SNAP_ASSIGN(const bool more, visit(first, entries_));
      if (!more) return {};
      first += entries_.size();
    }
    return {};
  }

  // Fills bytes_ from `offset`. Sectors that cannot be read get entries that none can be.
  Result<void> read_what_can_be(uint64_t offset) {
    const auto whole = salvage_.cow_->read_at(offset, bytes_);
    if (whole || whole.error().code() != ErrorCode::kIo) return whole;
    for (size_t at = 0; at < bytes_.size(); at += kSectorSize) {
      const auto sector = std::span(bytes_).subspan(at, kSectorSize);
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      if (salvage_.cow_->read_at(offset + at, sector)) continue;
      for (size_t i = 0; i < kSectorSize; i += kDiskExceptionSize) {
        encode_exception(kUnreadable, &sector[i]);
      }
    }
    return {};
  }

  Result<AreaCounts> count(uint64_t area) {
    AreaCounts counts;
    bool ended = false;
    SNAP_TRY(read_area(area, 0, [&](uint64_t, std::span<const Exception> entries) -> Result<bool> {
      for (const Exception& entry : entries) {
        ended = ended || entry.new_chunk == 0;
        if (entry == Exception{}) continue;
        const bool near = entry.new_chunk != 0 && is_near(layout_, area, entry.new_chunk) &&
                          entry.old_chunk < kMostOldChunk;
        const bool bad = !near && !is_sound(layout_, cow_chunks_, entry);
        ++(ended ? counts.behind : counts.live);
        if (bad) ++(ended ? counts.behind_bad : counts.live_bad);
        if (ended && is_near_and_there(area, entry)) ++counts.behind_near;
      }
      return true;
    }));
    return counts;
  }

  // What the kernel reads; and on behind an area that is destroyed, as long as what is there looks
  // like areas.
  Result<void> walk_list() {
    bool behind_damage = false;
    std::optional<uint64_t> destroyed_from;
    for (;; ++area_) {
      AreaCounts counts;
      const bool there = exists(area_);
      if (there) {
        SNAP_ASSIGN(counts, count(area_));
      }
      if (there && counts.destroyed()) {
        if (!destroyed_from) destroyed_from = area_;
        behind_damage = true;
        continue;
      }
      if (destroyed_from) drop_destroyed(*destroyed_from, area_ - 1);
      destroyed_from.reset();
      if (!there) {
        if (!behind_damage) drop_missing();
        return {};
      }
      SNAP_TRY(take(area_, 0, counts.live, behind_damage));
      if (counts.live < layout_.exceptions_per_area()) {
        index_ = counts.live;
        salvage_.left_beyond_end_ += counts.behind_near;
        return {};
      }
    }
  }

  // Gives entries of an area; with `strict` only such as the kernel could have put there.
  Result<void> take(uint64_t area, uint64_t first, uint64_t end, bool strict) {
    return read_area(area, first,
                     [&](uint64_t at, std::span<const Exception> entries) -> Result<bool> {
                       for (size_t i = 0; i < entries.size() && at + i < end; ++i) {
                         SNAP_TRY(take_entry(area, at + i, entries[i], strict));
                       }
                       return at + entries.size() < end;
                     });
  }

  Result<void> take_entry(uint64_t area, uint64_t index, const Exception& entry, bool strict) {
    if (strict) {
      if (!is_near_and_there(area, entry)) return {};
      ++salvage_.taken_beyond_;
    }
    if (entry == kUnreadable) {
      if (index % kEntriesPerSector == 0) {
        drop_(rules_.at(DefectCode::kDestroyedArea, area, index, entry,
                        fmt::format("{} entries cannot be read", kEntriesPerSector)));
      }
      return {};
    }
    auto defect = rules_.new_defect(area, index, entry);
    if (!defect) defect = rules_.old_defect(area, index, entry);
    if (!defect && entry.old_chunk >= kMostOldChunk) {
      defect = rules_.at(DefectCode::kOldBeyondOrigin, area, index, entry,
                         fmt::format("no origin has a chunk {:#x}", entry.old_chunk));
    }
    if (!defect) return candidate_(area, index, entry);
    drop_(*std::move(defect));
    return {};
  }

  void drop_destroyed(uint64_t first, uint64_t last) {
    Finding finding;
    finding.code = DefectCode::kDestroyedArea;
    finding.area = first;
    finding.offset = *layout_.area_location(first) * layout_.chunk_bytes();
    finding.message = first == last
                          ? "most of its entries make no sense: it was overwritten"
                          : fmt::format(
                                "so it is for all to area {}: most of their entries cannot be, "
                                "something else was written over them",
                                last);
    drop_(std::move(finding));
  }

  void drop_missing() {
    Finding finding;
    finding.code = DefectCode::kMissingArea;
    finding.area = area_;
    finding.message =
        fmt::format("the list continues in area {}, which lies past the end of the file", area_);
    drop_(std::move(finding));
  }

  // The next area from `area` on that is not a hole; nothing when there is none.
  Result<std::optional<uint64_t>> next_with_data(uint64_t area) {
    const uint64_t stride_bytes = (layout_.exceptions_per_area() + 1) * layout_.chunk_bytes();
    while (exists(area)) {
      const uint64_t offset = *layout_.area_location(area) * layout_.chunk_bytes();
      SNAP_ASSIGN(const Extent extent,
                  salvage_.cow_->extent_at(offset, salvage_.cow_->size() - offset));
      if (!extent.zero || extent.length < layout_.chunk_bytes()) return std::optional(area);
      // All areas that lie in the hole.
      area += (extent.length - layout_.chunk_bytes()) / stride_bytes + 1;
      if (cancel_.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    }
    return std::optional<uint64_t>();
  }

  Result<void> take_beyond() {
    salvage_.left_beyond_end_ = 0;
    if (!exists(area_)) return {};
    SNAP_TRY(take(area_, index_, layout_.exceptions_per_area(), true));
    uint64_t area = area_ + 1;
    while (true) {
      SNAP_ASSIGN(const auto next, next_with_data(area));
      if (!next) return {};
      SNAP_TRY(take(*next, 0, layout_.exceptions_per_area(), true));
      area = *next + 1;
    }
  }

  Result<void> look_beyond() {
    if (!exists(area_)) return {};
    const uint64_t end = area_ + kAreasLookedAt;
    uint64_t area = area_ + 1;
    while (true) {
      SNAP_ASSIGN(const auto next, next_with_data(area));
      if (!next || *next >= end) return {};
      SNAP_TRY(
          read_area(*next, 0, [&](uint64_t, std::span<const Exception> entries) -> Result<bool> {
            for (const Exception& entry : entries) {
              if (is_near_and_there(*next, entry)) ++salvage_.left_beyond_end_;
            }
            return false;  // its first piece is enough for a hint
          }));
      area = *next + 1;
    }
  }

  Salvage& salvage_;
  const Layout& layout_;
  uint64_t cow_chunks_;
  EntryRules rules_;
  const Candidate& candidate_;
  const Drop& drop_;
  const Cancel& cancel_;
  uint64_t area_ = 0;   // where the list ends
  uint64_t index_ = 0;  // and before which entry of it
  std::vector<std::byte> bytes_;
  std::vector<Exception> entries_;
};

Result<void> Salvage::find_repeats(const Cancel& cancel) {
  std::random_device random;
  const size_t budget = DuplicateFinder::budget_for(cow_->size());
  DuplicateFinder old_chunks(budget, random());
  DuplicateFinder new_chunks(budget, random());
  const Drop drop = [](const Finding&) {};
  bool more_old = true;
  bool more_new = true;
  while (more_old || more_new) {
    uint64_t number = 0;
    const Walk::Candidate candidate = [&](uint64_t, uint64_t,
                                          const Exception& entry) -> Result<void> {
      if (more_old && old_chunks.add(entry.old_chunk)) repeated_old_.push_back(number);
      if (more_new && new_chunks.add(entry.new_chunk)) repeated_new_.push_back(number);
      ++number;
      if (repeated_old_.size() + repeated_new_.size() <= kMostDuplicates) return {};
      return Error(
          ErrorCode::kUnsupported,
          fmt::format("'{}' has more than {} duplicates: its areas are not a list any more",
                      cow_->name(), kMostDuplicates));
    };
    SNAP_TRY(Walk(*this, candidate, drop, cancel).run());
    more_old = more_old && old_chunks.needs_another_pass();
    more_new = more_new && new_chunks.needs_another_pass();
  }
  std::sort(repeated_old_.begin(), repeated_old_.end());
  std::sort(repeated_new_.begin(), repeated_new_.end());
  repeats_known_ = true;
  return {};
}

Result<void> Salvage::visit(const Keep& keep, const Drop& drop, const Cancel& cancel) {
  if (!repeats_known_) SNAP_TRY(find_repeats(cancel));
  const EntryRules rules(layout(), cow_chunks(), options_.origin_size);
  uint64_t number = 0;
  auto old_repeat = repeated_old_.begin();
  auto new_repeat = repeated_new_.begin();
  const auto is_next = [&](auto& repeat, const auto& repeats) {
    if (repeat == repeats.end() || *repeat != number) return false;
    ++repeat;
    return true;
  };
  const Walk::Candidate candidate = [&](uint64_t area, uint64_t index,
                                        const Exception& entry) -> Result<void> {
    const bool repeats_old = is_next(old_repeat, repeated_old_);
    const bool repeats_new = is_next(new_repeat, repeated_new_);
    ++number;
    if (!repeats_old) return keep({area, index, entry, repeats_new});
    drop(rules.at(DefectCode::kDuplicateOld, area, index, entry,
                  fmt::format("origin chunk {} has an entry already", entry.old_chunk)));
    return {};
  };
  return Walk(*this, candidate, drop, cancel).run();
}

}  // namespace snaptool
