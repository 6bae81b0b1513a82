// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/persistent_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/counted.h"

namespace snaptool {
namespace {

constexpr uint64_t kClearPage = 4096;  // a clear is never larger
constexpr uint64_t kAreasReadAhead =
    64;  // small areas lie far apart: ask for some before they are needed
constexpr uint64_t kReadAheadArea = 64 * kKiB;  // larger areas are read sequentially anyway

Result<bool> reads_as_zeros(File& file, uint64_t begin, uint64_t end) {
  std::vector<std::byte> bytes;
  end = std::min(end, file.size());
  for (uint64_t at = begin; at < end;) {
    SNAP_ASSIGN(const Extent extent, file.extent_at(at, std::min(kIoPiece, end - at)));
    if (!extent.zero) {
      bytes.resize(extent.length);
      SNAP_TRY(file.read_at(at, bytes));
      if (!is_all_zero(bytes)) return false;
    }
    at += extent.length;
  }
  return true;
}

// Whether no chunk size leaves anything in header and first area. Of areas larger than anybody
// makes them, the first page is looked at: if it is zeros, the list is empty.
Result<bool> is_blank(File& cow) {
  constexpr uint64_t kLargestUsual = 4 * kMiB;
  SNAP_ASSIGN(bool blank, reads_as_zeros(cow, 0, 2 * kLargestUsual));
  for (uint64_t chunk = 2 * kLargestUsual; blank && chunk < cow.size(); chunk *= 2) {
    if (chunk > kMaxChunkSectors * kSectorSize) break;
    SNAP_ASSIGN(blank, reads_as_zeros(cow, chunk, chunk + kClearPage));
  }
  return blank;
}

// What a file is whose magic is 0, or that has none.
Result<Finding> finding_of_no_magic(File& cow) {
  constexpr uint64_t kSmallest = 2 * 4 * kKiB;  // header and one area, as they usually are
  SNAP_ASSIGN(const bool blank, is_blank(cow));
  if (!blank) {
    return header_finding(DefectCode::kWipedHeader,
                          "its magic is 0, but what follows is not: its header was wiped");
  }
  if (cow.size() < kSmallest) {
    return header_finding(
        DefectCode::kTooSmall,
        fmt::format("it has {}, all zeros: it is not a store, and too small for one",
                    counted(cow.size(), "byte")));
  }
  return header_finding(
      DefectCode::kNoStore,
      "its magic is 0, and so is everything where a list would be: it is a new store");
}

// Whether reads give what the medium has; they do from then on, mostly.
Result<bool> is_on_medium(File& cow, uint64_t offset, uint64_t length) {
  // The kernel keeps large pages that the range covers in part: these are compared.
  if (cow.forget_cache(offset, length)) return true;
  std::vector<std::byte> cached(std::min(length, kIoPiece));
  std::vector<std::byte> medium(cached.size());
  for (uint64_t done = 0; done < length; done += cached.size()) {
    const uint64_t piece = std::min<uint64_t>(cached.size(), length - done);
    SNAP_TRY(cow.read_at(offset + done, std::span(cached).first(piece)));
    SNAP_TRY(cow.read_medium(offset + done, std::span(medium).first(piece)));
    if (std::memcmp(cached.data(), medium.data(), piece) != 0) return false;
  }
  return true;
}

}  // namespace

Result<PersistentStore> PersistentStore::open(File& cow) {
  SNAP_ASSIGN(auto examined, examine(cow));
  if (examined.store) return *std::move(examined.store);
  const Finding& finding = examined.findings.front();
  if (finding.code == DefectCode::kTooSmall) {
    return Error(ErrorCode::kNotFound,
                 fmt::format("'{}' is not a dm-snapshot store: {}", cow.name(), finding.message));
  }
  const Advice advice = advice_for(finding.code);
  return Error(ErrorCode::kCorruption,
               fmt::format("'{}' is not a sound dm-snapshot store: {} ({}){}", cow.name(),
                           finding.message, defect_code_name(finding.code), advice.text))
      .with_remedy(advice.remedy);
}

Result<PersistentStore::Examined> PersistentStore::examine(File& cow) {
  Examined result;
  const auto reject = [&](DefectCode code, std::string message) {
    result.findings.push_back(header_finding(code, std::move(message)));
    return result;
  };
  std::array<std::byte, kLinux24HeaderSize> bytes{};
  SNAP_TRY(cow.read_at(0, std::span(bytes).first(std::min(cow.size(), bytes.size()))));
  const DiskHeader header = decode_header(std::span(bytes).first<kDiskHeaderSize>());
  PersistentStore store(cow, header);

  // The order of the checks is the kernel's: the first that fails is the reason it gives.
  if (header.magic == 0) {
    SNAP_ASSIGN(Finding finding, finding_of_no_magic(cow));
    if (finding.code == DefectCode::kNoStore) result.store = std::move(store);
    result.findings.push_back(std::move(finding));
    return result;
  }
  if (cow.size() < kSectorSize) {
    return reject(DefectCode::kShortFile,
                  fmt::format("it has {}, less than one sector", counted(cow.size(), "byte")));
  }
  if (header.magic != kSnapMagic) {
    constexpr uint32_t kQcowMagic = 0xfb494651;
    return reject(
        DefectCode::kBadMagic,
        fmt::format("its magic is {:#010x}{}, not {:#010x} (\"SnAp\")", header.magic,
                    header.magic == kQcowMagic ? " (of a qcow2 image: see 'qemu-img')" : "",
                    kSnapMagic));
  }
  if (!std::has_single_bit(header.chunk_size) || header.chunk_size > kMaxChunkSectors) {
    return reject(DefectCode::kBadChunkSize,
                  fmt::format("its chunk size is {} sectors, not a power of two from 1 to {}",
                              header.chunk_size, kMaxChunkSectors));
  }
  if (is_linux_2_4_header(bytes)) {
    return reject(DefectCode::kBadVersion, fmt::format("it {}", kLinux24Message));
  }
  if (header.version != kSnapshotDiskVersion) {
    return reject(DefectCode::kBadVersion,
                  fmt::format("its version is {}; only 1 was ever used", header.version));
  }
  store.layout_.emplace(header.chunk_size);
  if (cow.size() < store.layout_->chunk_bytes()) {
    return reject(DefectCode::kShortFile, fmt::format("it has {} bytes, less than one chunk of {}",
                                                      cow.size(), store.layout_->chunk_bytes()));
  }
  store.state_ = header.valid == 0 ? StoreState::kInvalid : StoreState::kValid;
  if (header.valid > 1) {
    result.findings.push_back(header_finding(DefectCode::kValidNotOne,
                                             fmt::format("valid is {}, not 0 or 1", header.valid)));
  }
  result.store = std::move(store);
  return result;
}

uint64_t PersistentStore::cow_chunks() const { return cow_->size() / layout().chunk_bytes(); }

Result<void> PersistentStore::read_area_piece(uint64_t area, uint64_t first,
                                              std::span<Exception> out) {
  const auto location = layout().area_location(area);
  if (!location || *location >= cow_chunks()) {
    missing_area_ = area;
    return Error(
        ErrorCode::kCorruption,
        area == 0
            ? fmt::format("'{}' ends before its first area", cow_->name())
            : fmt::format("area {} of '{}' is full, but area {} lies past the end of the file",
                          area - 1, cow_->name(), area));
  }
  buffer_.resize(out.size() * kDiskExceptionSize);
  SNAP_TRY(cow_->read_at(*location * layout().chunk_bytes() + first * kDiskExceptionSize, buffer_));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = decode_exception(&buffer_[i * kDiskExceptionSize]);
  return {};
}

void PersistentStore::read_ahead(uint64_t area) {
  const auto location = layout().area_location(area);
  if (location && *location < cow_chunks()) {
    cow_->will_need(*location * layout().chunk_bytes(), layout().chunk_bytes());
  }
}

Result<void> PersistentStore::read_metadata(const MetadataVisitor& visit, const Cancel& cancel) {
  SNAP_CHECK(state_ != StoreState::kNone);
  const uint64_t per_area = layout().exceptions_per_area();
  const bool ahead = layout().chunk_bytes() <= kReadAheadArea;
  std::vector<Exception> piece(std::min(per_area, kIoPiece / kDiskExceptionSize));
  exceptions_ = 0;
  pending_ = 0;
  tail_is_zero_ = false;
  missing_area_.reset();
  uint64_t max_new = 0;
  for (uint64_t area = 0;; ++area) {
    if (ahead && area > 0) read_ahead(area + kAreasReadAhead);
    for (uint64_t first = 0; first < per_area; first += piece.size()) {
      if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_TRY(read_area_piece(area, first, piece));
      size_t live = 0;
      while (live < piece.size() && piece[live].new_chunk != 0) {
        max_new = std::max(max_new, piece[live].new_chunk);
        ++live;
      }
      exceptions_ += live;
      if (live > 0) SNAP_TRY(visit(area, first, std::span(piece).first(live)));
      if (live < piece.size()) {
        next_free_ = std::max<uint64_t>(kNumSnapshotHdrChunks + 1, max_new + 1);
        skip_metadata();
        return {};
      }
    }
  }
}

Result<void> PersistentStore::read_metadata(const Cancel& cancel) {
  return read_metadata(
      [](uint64_t, uint64_t, std::span<const Exception>) -> Result<void> { return {}; }, cancel);
}

Result<bool> PersistentStore::metadata_is_on_medium(const Cancel& cancel) {
  const uint64_t bytes = chunk_bytes();
  const auto is_there = [&](uint64_t area) -> Result<bool> {
    const auto location = layout().area_location(area);
    if (!location || *location >= cow_chunks()) return true;
    SNAP_ASSIGN(const bool same, is_on_medium(*cow_, *location * bytes, bytes));
    if (bytes <= kReadAheadArea) cow_->will_need(*location * bytes, bytes);
    return same;
  };
  SNAP_ASSIGN(bool same, is_on_medium(*cow_, 0, kSectorSize));
  for (uint64_t area = 0; same && area < kAreasReadAhead; ++area) {
    SNAP_ASSIGN(same, is_there(area));
  }
  const uint64_t last = layout().exceptions_per_area() - 1;
  for (uint64_t area = 0; same; ++area) {
    if (cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(same, is_there(area + kAreasReadAhead));
    // The last entry is looked at only: a list that ends before it is read to its end later.
    const auto location = layout().area_location(area);
    if (!location || *location >= cow_chunks()) break;
    Exception entry;
    SNAP_TRY(read_area_piece(area, last, std::span(&entry, 1)));
    if (entry.new_chunk == 0) break;
  }
  return same;
}

Usage PersistentStore::usage() const {
  // As the kernel's live numbers, which have no exceptions that wait for others.
  const uint64_t area = (exceptions_ + pending_) / layout().exceptions_per_area();
  return Usage{next_free_ * layout().chunk_sectors(), cow_->size() / kSectorSize,
               (area + 1 + kNumSnapshotHdrChunks) * layout().chunk_sectors()};
}

Result<void> PersistentStore::visit_tail(const std::function<void(uint64_t, Exception)>& visit) {
  const uint64_t per_area = layout().exceptions_per_area();
  const uint64_t area = current_area();
  const auto location = layout().area_location(area);
  std::vector<Exception> piece;
  for (uint64_t first = exceptions_ % per_area; first < per_area;) {
    // A hole is zeros: an area of a gigabyte costs nothing where nothing was written.
    const uint64_t offset = *location * layout().chunk_bytes() + first * kDiskExceptionSize;
    SNAP_ASSIGN(const Extent extent,
                cow_->extent_at(offset, (per_area - first) * kDiskExceptionSize));
    const uint64_t whole = extent.length / kDiskExceptionSize;
    if (extent.zero && whole > 0) {
      first += whole;
      continue;
    }
    piece.resize(std::clamp<uint64_t>(whole, 1, kIoPiece / kDiskExceptionSize));
    SNAP_TRY(read_area_piece(area, first, piece));
    for (size_t i = 0; i < piece.size(); ++i) {
      if (piece[i] != Exception{}) visit(first + i, piece[i]);
    }
    first += piece.size();
  }
  return {};
}

Result<bool> PersistentStore::zero_tail() {
  // Lowest and highest entry that is not zero; what lies between is zeroed with them.
  std::optional<uint64_t> lowest;
  uint64_t highest = 0;
  SNAP_TRY(visit_tail([&](uint64_t index, Exception) {
    if (!lowest) lowest = index;
    highest = index;
  }));
  if (!lowest) return false;
  SNAP_TRY(zero_entries(current_area(), *lowest, highest + 1));
  return true;
}

Result<void> PersistentStore::zero_entries(uint64_t area, uint64_t begin, uint64_t end) {
  static constexpr std::array<std::byte, kClearPage> kZeros{};
  const uint64_t base = *layout().area_location(area) * layout().chunk_bytes();
  const uint64_t from = base + begin * kDiskExceptionSize;
  uint64_t to = base + end * kDiskExceptionSize;
  while (to > from) {
    const uint64_t start = std::max(from, round_down(to - 1, kClearPage));
    SNAP_TRY(cow_->write_at(start, std::span(kZeros).first(to - start)));
    to = start;
  }
  return {};
}

Result<std::vector<Exception>> PersistentStore::prepare_merge(uint64_t end, uint64_t limit) {
  SNAP_CHECK(end <= exceptions_);
  const uint64_t per_area = layout().exceptions_per_area();
  std::vector<Exception> batch;
  std::vector<Exception> piece;
  while (end > 0 && batch.size() < limit) {
    const uint64_t area = (end - 1) / per_area;
    const uint64_t in_area = end - area * per_area;
    const uint64_t take = std::min({in_area, limit - batch.size(), kIoPiece / kDiskExceptionSize});
    piece.resize(take);
    SNAP_TRY(read_area_piece(area, in_area - take, piece));
    batch.insert(batch.end(), piece.rbegin(), piece.rend());
    end -= take;
  }
  return batch;
}

Result<void> PersistentStore::commit_merge(uint64_t count) {
  SNAP_CHECK(count <= exceptions_);
  const uint64_t per_area = layout().exceptions_per_area();
  const uint64_t keep = exceptions_ - count;
  uint64_t end = exceptions_;
  while (end > keep) {
    const uint64_t area = (end - 1) / per_area;
    const uint64_t begin = std::max(keep, area * per_area);
    SNAP_TRY(zero_entries(area, begin - area * per_area, end - area * per_area));
    end = begin;
  }
  exceptions_ = keep;
  next_free_ = kNumSnapshotHdrChunks + 1;  // known again after the next read_metadata
  return {};
}

Result<void> PersistentStore::read_entries(uint64_t first, std::span<Exception> out) {
  const uint64_t per_area = layout().exceptions_per_area();
  while (!out.empty()) {
    const uint64_t in_area = first % per_area;
    const uint64_t take =
        std::min<uint64_t>({out.size(), per_area - in_area, kIoPiece / kDiskExceptionSize});
    SNAP_TRY(read_area_piece(first / per_area, in_area, out.first(take)));
    out = out.subspan(take);
    first += take;
  }
  return {};
}

Result<void> PersistentStore::restore_entries(uint64_t first, std::span<const Exception> entries) {
  const uint64_t per_area = layout().exceptions_per_area();
  std::array<std::byte, kClearPage> bytes{};
  while (!entries.empty()) {
    const auto location = layout().area_location(first / per_area);
    SNAP_CHECK(location && *location < cow_chunks());
    const uint64_t offset =
        *location * layout().chunk_bytes() + first % per_area * kDiskExceptionSize;
    const uint64_t take =
        std::min<uint64_t>({entries.size(), per_area - first % per_area,
                            (kClearPage - offset % kClearPage) / kDiskExceptionSize});
    for (uint64_t i = 0; i < take; ++i) {
      encode_exception(entries[i], &bytes[i * kDiskExceptionSize]);
    }
    SNAP_TRY(cow_->write_at(offset, std::span(bytes).first(take * kDiskExceptionSize)));
    entries = entries.subspan(take);
    first += take;
  }
  return {};
}

void PersistentStore::skip_metadata() {
  if (layout().is_metadata(next_free_)) ++next_free_;
}

std::optional<ExceptionStore::Prepared> PersistentStore::prepare_exception() {
  SNAP_CHECK(state_ == StoreState::kValid);
  if (next_free_ >= cow_chunks()) return std::nullopt;
  Prepared prepared{next_free_++, true};
  skip_metadata();
  const uint64_t list = exceptions_ + ++pending_;
  if (list % layout().exceptions_per_area() == 0) {
    const auto successor = layout().area_location(list / layout().exceptions_per_area());
    prepared.can_commit = successor && *successor < cow_chunks();
  }
  return prepared;
}

uint64_t PersistentStore::room() const {
  const uint64_t chunks = cow_chunks();
  if (next_free_ >= chunks) return 0;
  const uint64_t per_area = layout().exceptions_per_area();
  const uint64_t data_chunks =
      chunks - next_free_ - (layout().areas_before(chunks) - layout().areas_before(next_free_));
  // The last area that there is must never be full.
  const uint64_t entries = layout().areas_before(chunks) * per_area - 1;
  const uint64_t listed = exceptions_ + pending_;
  return listed >= entries ? 0 : std::min(data_chunks, entries - listed);
}

uint64_t PersistentStore::chunks_for(uint64_t more) const {
  const uint64_t per_area = layout().exceptions_per_area();
  const uint64_t stride = per_area + 1;
  const uint64_t into_stride = (next_free_ - kNumSnapshotHdrChunks) % stride;  // at least 1
  const uint64_t area_chunk = next_free_ - into_stride;
  const uint64_t data_chunks = into_stride - 1 + more;  // from that area on
  const uint64_t data_end = more == 0 ? next_free_
                                      : area_chunk + (data_chunks - 1) / per_area * stride +
                                            (data_chunks - 1) % per_area + 2;
  const uint64_t last_area = (exceptions_ + pending_ + more) / per_area;
  return std::max(data_end, kNumSnapshotHdrChunks + last_area * stride + 1);
}

Result<void> PersistentStore::zero_area(uint64_t area) {
  const auto location = layout().area_location(area);
  SNAP_CHECK(location && *location < cow_chunks());
  const uint64_t offset = *location * chunk_bytes();
  if (chunk_bytes() > kReadAheadArea) {
    return cow_->zero_at(offset, chunk_bytes(), ZeroMode::kKeep);
  }
  buffer_.assign(chunk_bytes(), std::byte{0});
  return cow_->write_at(offset, buffer_);
}

Result<void> PersistentStore::commit_exceptions(std::span<const Exception> exceptions) {
  SNAP_CHECK(state_ == StoreState::kValid && exceptions.size() <= pending_);
  if (exceptions.empty()) return {};
  const uint64_t per_area = layout().exceptions_per_area();
  if (!tail_is_zero_) {
    SNAP_ASSIGN(const bool cleared, zero_tail());
    if (cleared) SNAP_TRY(cow_->flush());
    tail_is_zero_ = true;
  }
  const uint64_t end = exceptions_ + exceptions.size();
  // What goes into areas behind the current one is invisible until that is full; by then they, and
  // the empty one behind the last, must be whole.
  const uint64_t here = std::min<uint64_t>(exceptions.size(), per_area - exceptions_ % per_area);
  for (uint64_t area = current_area() + 1; area <= end / per_area; ++area) {
    if (end - area * per_area < per_area) SNAP_TRY(zero_area(area));
  }
  SNAP_TRY(restore_entries(exceptions_ + here, exceptions.subspan(here)));
  SNAP_TRY(cow_->flush());
  SNAP_TRY(restore_entries(exceptions_, exceptions.first(here)));
  SNAP_TRY(cow_->flush());
  exceptions_ = end;
  pending_ -= exceptions.size();
  return {};
}

Result<void> PersistentStore::drop_snapshot() {
  std::array<std::byte, kSectorSize> sector{};
  SNAP_TRY(cow_->read_at(0, sector));
  header_.valid = 0;
  encode_header(header_, std::span(sector).first<kDiskHeaderSize>());
  SNAP_TRY(cow_->write_at(0, sector));
  state_ = StoreState::kInvalid;
  return cow_->flush();
}

Result<bool> trust_metadata_on_medium(File& cow, const Cancel& cancel) {
  SNAP_ASSIGN(auto examined, PersistentStore::examine(cow));
  bool same = false;
  if (examined.store && examined.store->state() != StoreState::kNone) {
    SNAP_ASSIGN(same, examined.store->metadata_is_on_medium(cancel));
  } else {
    SNAP_ASSIGN(same, is_on_medium(cow, 0, std::min(kSectorSize, cow.size())));
  }
  return same || cow.forget_cache(0, cow.size());
}

}  // namespace snaptool
