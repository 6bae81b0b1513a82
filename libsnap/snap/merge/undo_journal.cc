// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/merge/undo_journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/io_bytes.h"
#include "libsnap/base/parallel.h"

namespace snaptool {
namespace {

constexpr std::string_view kFileMagic = "SNAPUNDO";
constexpr std::string_view kRecordMagic = "UNDO-REC";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kAlign = 4096;  // of all parts
// Kept past the last record for the two marks that may come: what ends a merge, and what begins its
// undoing, must find room on a full file system, too.
constexpr uint64_t kReserve = 2 * kAlign;
constexpr uint64_t kHeaderBytes = 40;
constexpr uint64_t kPreambleBytes = 88;
constexpr uint64_t kRangeBytes = 24;
constexpr size_t kDigestBytes = sizeof(Sha256::Digest);

constexpr uint64_t align_up(uint64_t bytes) { return div_round_up(bytes, kAlign) * kAlign; }

void put_text(std::byte* to, std::string_view text) { std::memcpy(to, text.data(), text.size()); }
bool has_text(const std::byte* from, std::string_view text) {
  return std::memcmp(from, text.data(), text.size()) == 0;
}
// A block of `used` bytes, then the digest of these.
void seal(std::span<std::byte> block, size_t used) {
  const auto digest = Sha256::of(block.first(used));
  std::copy(digest.begin(), digest.end(), block.begin() + static_cast<ptrdiff_t>(used));
}
bool sealed(std::span<const std::byte> block, size_t used) {
  const auto digest = Sha256::of(block.first(used));
  return std::equal(digest.begin(), digest.end(), block.begin() + static_cast<ptrdiff_t>(used));
}

uint64_t tables_bytes(const UndoJournal::Batch& batch) {
  return batch.entry_count * kDiskExceptionSize + batch.range_count * kRangeBytes +
         batch.piece_count() * kDigestBytes;
}

std::vector<std::byte> encode_tables(std::span<const Exception> entries,
                                     std::span<const CopyOp> ranges,
                                     std::span<const Sha256::Digest> pieces) {
  std::vector<std::byte> bytes(entries.size() * kDiskExceptionSize + ranges.size() * kRangeBytes +
                               pieces.size() * kDigestBytes);
  std::byte* at = bytes.data();
  for (const Exception& entry : entries) {
    encode_exception(entry, at);
    at += kDiskExceptionSize;
  }
  for (const CopyOp& range : ranges) {
    store_le(at, range.source);
    store_le(at + 8, range.target);
    store_le(at + 16, range.length);
    at += kRangeBytes;
  }
  for (const Sha256::Digest& digest : pieces) {
    std::copy(digest.begin(), digest.end(), at);
    at += kDigestBytes;
  }
  return bytes;
}

UndoJournal::Tables decode_tables(const UndoJournal::Batch& batch,
                                  std::span<const std::byte> bytes) {
  UndoJournal::Tables tables;
  const std::byte* at = bytes.data();
  tables.entries.reserve(batch.entry_count);
  for (uint64_t i = 0; i < batch.entry_count; ++i, at += kDiskExceptionSize) {
    tables.entries.push_back(decode_exception(at));
  }
  tables.ranges.reserve(batch.range_count);
  for (uint64_t i = 0; i < batch.range_count; ++i, at += kRangeBytes) {
    tables.ranges.push_back(
        {load_le<uint64_t>(at), load_le<uint64_t>(at + 8), load_le<uint64_t>(at + 16)});
  }
  tables.pieces.resize(batch.piece_count());
  for (Sha256::Digest& digest : tables.pieces) {
    std::copy_n(at, kDigestBytes, digest.begin());
    at += kDigestBytes;
  }
  return tables;
}

// Ranges that lie within both files, in order, and amount to the batch's bytes.
bool plausible(const UndoJournal::Tables& tables, const UndoJournal::Batch& batch,
               const UndoJournal::Shape& shape) {
  uint64_t total = 0;
  uint64_t end = 0;
  for (const CopyOp& range : tables.ranges) {
    const auto source_end = checked_add(range.source, range.length);
    const auto target_end = checked_add(range.target, range.length);
    if (!source_end || !target_end || *source_end > shape.cow_size ||
        *target_end > shape.origin_size || range.target < end || range.length == 0) {
      return false;
    }
    end = *target_end;
    total += range.length;
  }
  return total == batch.data_bytes;
}

Error damaged(const std::string& name, const std::string& what) {
  return Error(ErrorCode::kCorruption, fmt::format("undo file '{}' is damaged: {}", name, what));
}

}  // namespace

struct UndoJournal::Preamble {
  Kind kind = Kind::kBatch;
  uint64_t sequence = 0;
  Batch batch;
  Sha256::Digest digest{};  // of the tables; of a finished merge, ends_of the origin
};

uint64_t UndoJournal::Batch::piece_count() const { return div_round_up(data_bytes, kIoPiece); }
uint64_t UndoJournal::Batch::data_position() const {
  return position + kAlign + align_up(tables_bytes(*this));
}
uint64_t UndoJournal::Batch::end() const { return data_position() + align_up(data_bytes); }

Result<bool> UndoJournal::is_blank(File& file) {
  if (file.size() > kAlign) return false;
  std::vector<std::byte> bytes(file.size());
  SNAP_TRY(file.read_at(0, bytes));
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Result<UndoJournal> UndoJournal::create(File& file, const Shape& shape) {
  UndoJournal journal(file);
  journal.shape_ = shape;
  std::array<std::byte, kHeaderBytes + kDigestBytes> header{};
  put_text(&header[0], kFileMagic);
  store_le<uint32_t>(&header[8], kVersion);
  store_le<uint32_t>(&header[12], static_cast<uint32_t>(shape.chunk_sectors));
  store_le(&header[16], shape.origin_size);
  store_le(&header[24], shape.cow_size);
  store_le(&header[32], shape.exceptions);
  seal(header, kHeaderBytes);
  SNAP_TRY(file.resize(kAlign));
  SNAP_TRY(file.reserve(kAlign, kReserve));
  SNAP_TRY(file.write_at(0, header));
  SNAP_TRY(file.flush());
  journal.end_ = kAlign;
  return journal;
}

Result<UndoJournal> UndoJournal::open(File& file, const Job& job) {
  UndoJournal journal(file);
  std::array<std::byte, kHeaderBytes + kDigestBytes> header{};
  if (file.size() >= kAlign) SNAP_TRY(file.read_at(0, header));
  const bool is_one = has_text(&header[0], kFileMagic);
  if (is_one && load_le<uint32_t>(&header[8]) != kVersion) {
    return Error(ErrorCode::kUnsupported,
                 fmt::format("undo file '{}' has version {}; this program knows {}", file.name(),
                             load_le<uint32_t>(&header[8]), kVersion));
  }
  if (!is_one || !sealed(header, kHeaderBytes)) {
    return Error(ErrorCode::kCorruption,
                 fmt::format("'{}' is not an undo file of snaptool merge", file.name()));
  }
  journal.shape_ = {load_le<uint32_t>(&header[12]), load_le<uint64_t>(&header[16]),
                    load_le<uint64_t>(&header[24]), load_le<uint64_t>(&header[32])};
  journal.end_ = kAlign;
  while (true) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    SNAP_ASSIGN(const auto preamble, journal.read_preamble(journal.end_));
    if (!preamble) break;
    if (preamble->kind == Kind::kBatch) {
      journal.batches_.push_back(preamble->batch);
      journal.table_digests_.push_back(preamble->digest);
      journal.end_ = preamble->batch.end();
    } else {
      journal.end_ += kAlign;
      journal.state_ = preamble->kind == Kind::kFinished ? State::kFinished : State::kUndoing;
      if (preamble->kind == Kind::kFinished) journal.ends_ = preamble->digest;
    }
    ++journal.records_;
  }
  // Only the last record can have been cut short: each is flushed before the next is begun.
  if (journal.state_ == State::kMerging && !journal.batches_.empty()) {
    SNAP_ASSIGN(const bool whole, journal.is_whole(journal.batches_.back(), job));
    if (!whole) {
      journal.end_ = journal.batches_.back().position;
      journal.batches_.pop_back();
      journal.table_digests_.pop_back();
      --journal.records_;
    }
  }
  return journal;
}

Result<std::optional<UndoJournal::Preamble>> UndoJournal::read_preamble(uint64_t position) {
  const std::optional<Preamble> none;
  if (file_->size() < kAlign || position > file_->size() - kAlign) return none;
  std::array<std::byte, kPreambleBytes + kDigestBytes> bytes{};
  SNAP_TRY(file_->read_at(position, bytes));
  if (!has_text(&bytes[0], kRecordMagic) || !sealed(bytes, kPreambleBytes)) return none;
  Preamble preamble;
  const auto kind = load_le<uint64_t>(&bytes[8]);
  preamble.kind = static_cast<Kind>(kind);
  preamble.sequence = load_le<uint64_t>(&bytes[16]);
  preamble.batch = {position, load_le<uint64_t>(&bytes[24]), load_le<uint64_t>(&bytes[32]),
                    load_le<uint64_t>(&bytes[40]), load_le<uint64_t>(&bytes[48])};
  std::copy_n(&bytes[56], kDigestBytes, preamble.digest.begin());

  // Sealed, and still not what was ever written: no power cut makes that.
  if (kind < 1 || kind > 3 || preamble.sequence != records_) {
    return damaged(name(), fmt::format("the record at byte {} is out of order", position));
  }
  if (state_ == State::kUndoing ||
      (state_ == State::kFinished && preamble.kind != Kind::kUndoing)) {
    return damaged(name(), fmt::format("the record at byte {} follows its end", position));
  }
  if (preamble.kind != Kind::kBatch) return std::optional(preamble);
  const Batch& batch = preamble.batch;
  const auto end_entry = checked_add(batch.first_entry, batch.entry_count);
  if (batch.entry_count == 0 || batch.entry_count > kMaxEntries ||
      batch.range_count > batch.entry_count || !end_entry || *end_entry != first_entry() ||
      batch.data_bytes > shape_.origin_size) {
    return damaged(name(), fmt::format("the record at byte {} does not fit", position));
  }
  // Cut short: the file's new size had not arrived.
  if (batch.data_bytes > file_->size() || batch.end() > file_->size()) return none;
  return std::optional(preamble);
}

Result<bool> UndoJournal::is_whole(const Batch& batch, const Job& job) {
  SNAP_ASSIGN(const auto tables, try_read_tables(batch));
  if (!tables) return false;
  RawBytes buffer(std::min(batch.data_bytes, kIoPiece));
  for (uint64_t piece = 0; piece < batch.piece_count(); ++piece) {
    if (job.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
    const auto bytes = read_piece(batch, *tables, piece, buffer);
    if (!bytes && bytes.error().code() != ErrorCode::kCorruption) return bytes.error();
    if (!bytes) return false;
  }
  return true;
}

Result<void> UndoJournal::write_preamble(uint64_t position, const Preamble& preamble) {
  std::array<std::byte, kPreambleBytes + kDigestBytes> bytes{};
  put_text(&bytes[0], kRecordMagic);
  store_le(&bytes[8], static_cast<uint64_t>(preamble.kind));
  store_le(&bytes[16], preamble.sequence);
  store_le(&bytes[24], preamble.batch.first_entry);
  store_le(&bytes[32], preamble.batch.entry_count);
  store_le(&bytes[40], preamble.batch.range_count);
  store_le(&bytes[48], preamble.batch.data_bytes);
  std::copy(preamble.digest.begin(), preamble.digest.end(), &bytes[56]);
  seal(bytes, kPreambleBytes);
  return file_->write_at(position, bytes);
}

Result<void> UndoJournal::append(std::span<const Exception> entries, std::span<const CopyOp> ranges,
                                 File& origin, const Job& job) {
  SNAP_CHECK(state_ == State::kMerging && !entries.empty() && entries.size() <= kMaxEntries &&
             entries.size() <= first_entry());
  Preamble preamble;
  Batch& batch = preamble.batch;
  batch.position = end_;
  batch.first_entry = first_entry() - entries.size();
  batch.entry_count = entries.size();
  batch.range_count = ranges.size();
  for (const CopyOp& range : ranges) batch.data_bytes += range.length;

  // Twice: what an earlier, torn record left there must not be taken for this one's.
  SNAP_TRY(file_->resize(end_));
  SNAP_TRY(file_->resize(batch.end()));
  SNAP_TRY(file_->reserve(batch.end(), kReserve));
  std::vector<CopyOp> ops;
  ops.reserve(ranges.size());
  uint64_t at = batch.data_position();
  for (const CopyOp& range : ranges) {
    ops.push_back({range.target, at, range.length});
    at += range.length;
  }
  std::vector<Sha256::Digest> pieces(batch.piece_count());
  Progress own;  // the merge's counts what arrives in the origin
  SNAP_TRY(Copier(origin, *file_, 0, ZeroMode::kPunch)
               .copy(ops, Job{own, job.cancel, job.jobs},
                     [&](size_t piece, std::span<const std::byte> bytes) {
                       pieces[piece] = Sha256::of(bytes);
                     }));
  const auto tables = encode_tables(entries, ranges, pieces);
  preamble.sequence = records_;
  preamble.digest = Sha256::of(tables);
  SNAP_TRY(file_->write_at(batch.position + kAlign, tables));
  SNAP_TRY(write_preamble(batch.position, preamble));
  SNAP_TRY(file_->flush());
  batches_.push_back(batch);
  table_digests_.push_back(preamble.digest);
  end_ = batch.end();
  ++records_;
  return {};
}

Result<void> UndoJournal::append_mark(Kind kind, const Sha256::Digest& digest) {
  // Its block is kept already; a torn record that is there instead goes.
  if (file_->size() > end_ + kAlign) SNAP_TRY(file_->resize(end_));
  SNAP_TRY(file_->resize(end_ + kAlign));
  Preamble preamble;
  preamble.kind = kind;
  preamble.sequence = records_;
  preamble.digest = digest;
  SNAP_TRY(write_preamble(end_, preamble));
  SNAP_TRY(file_->flush());
  end_ += kAlign;
  ++records_;
  return {};
}

Result<void> UndoJournal::finish(const Sha256::Digest& ends) {
  SNAP_CHECK(state_ == State::kMerging);
  SNAP_TRY(append_mark(Kind::kFinished, ends));
  ends_ = ends;
  state_ = State::kFinished;
  return {};
}

Result<void> UndoJournal::begin_undo() {
  if (state_ == State::kUndoing) return {};
  SNAP_TRY(append_mark(Kind::kUndoing, {}));
  state_ = State::kUndoing;
  return {};
}

Result<std::optional<UndoJournal::Tables>> UndoJournal::try_read_tables(const Batch& batch) {
  std::vector<std::byte> bytes(tables_bytes(batch));
  SNAP_TRY(file_->read_at(batch.position + kAlign, bytes));
  const auto number = static_cast<size_t>(&batch - batches_.data());
  if (Sha256::of(bytes) != table_digests_.at(number)) return std::optional<Tables>();
  Tables tables = decode_tables(batch, bytes);
  if (!plausible(tables, batch, shape_)) return std::optional<Tables>();
  return std::optional(std::move(tables));
}

Result<UndoJournal::Tables> UndoJournal::read_tables(const Batch& batch) {
  SNAP_ASSIGN(auto tables, try_read_tables(batch));
  if (!tables) {
    return damaged(name(), fmt::format("the tables of the batch at byte {} are not what was "
                                       "written",
                                       batch.position));
  }
  return *std::move(tables);
}

Result<std::span<std::byte>> UndoJournal::read_piece(const Batch& batch, const Tables& tables,
                                                     uint64_t piece,
                                                     std::span<std::byte> out) const {
  const uint64_t start = piece * kIoPiece;
  const auto bytes = out.first(std::min(kIoPiece, batch.data_bytes - start));
  SNAP_TRY(file_->read_at(batch.data_position() + start, bytes));
  if (Sha256::of(bytes) != tables.pieces.at(piece)) {
    return damaged(name(), fmt::format("its bytes from {} on are not what was written",
                                       batch.data_position() + start));
  }
  return bytes;
}

Result<Sha256::Digest> UndoJournal::ends_of(File& origin) {
  Sha256 hash;
  std::vector<std::byte> bytes(std::min(origin.size(), kIoPiece));
  SNAP_TRY(origin.read_at(0, bytes));
  hash.update(bytes);
  SNAP_TRY(origin.read_at(origin.size() - bytes.size(), bytes));
  hash.update(bytes);
  return hash.finish_digest();
}

}  // namespace snaptool
