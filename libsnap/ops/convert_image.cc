// SPDX-License-Identifier: Apache-2.0
#include "libsnap/ops/convert_image.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/parallel.h"
#include "libsnap/diff/candidates.h"

namespace snaptool::ops {
namespace {

constexpr uint64_t kMostBuffers = 32 * kMiB;  // of all slots, of each kind

// A piece, and what is known of it before it is read.
struct Slot {
  access::WritePiece piece;
  PageBuffer data;
  PageBuffer base;
  std::vector<ByteRange> ranges;      // of the piece, without a base: where there are data
  std::vector<Candidate> candidates;  // with a base: where the two may differ
  uint64_t progress = 0;              // bytes
  uint64_t holes = 0;                 // bytes of it
};

class Converter {
 public:
  Converter(Image& source, access::ImageWriter& writer, const ConvertOptions& options,
            const Job& job)
      : source_(source),
        writer_(writer),
        options_(options),
        job_(job),
        unit_(writer.unit_size()),
        piece_(writer.piece_size()),
        mark_(options.base != nullptr ? writer.mark_size() : 0) {
    SNAP_CHECK(unit_ > 0 && piece_ % unit_ == 0);
    if (options.base != nullptr) scan_.emplace(*options.base, source, source.size());
    const uint64_t most = std::max<uint64_t>(2, kMostBuffers / piece_);
    slots_.resize(std::min<uint64_t>(std::max(1U, job.jobs) * kSlotsPerThread, most));
  }

  Result<ConvertResult> run() {
    SNAP_TRY(parallel_ordered(
        slots_.size(), job_,
        {[this](size_t i) { return scan_ ? take_candidates(slots_[i]) : take(slots_[i]); },
         [this](size_t i) { return fill(slots_[i]); },
         [this](size_t i) { return writer_.place(slots_[i].piece); },
         [this](size_t i) { return write(slots_[i]); }}));
    return std::move(result_);
  }

 private:
  // The next piece in which there are data. at_ is where a piece begins, or the end.
  Result<bool> take(Slot& slot) {
    while (at_ < source_.size()) {
      if (job_.cancel.requested()) return Error(ErrorCode::kInterrupted, "interrupted");
      SNAP_ASSIGN(const uint64_t zeros, zeros_ahead());
      if (zeros == 0) {
        begin(slot, at_);
        SNAP_TRY(find_data(slot));
        at_ += slot.piece.length;
        slot.progress = slot.piece.length;
        slot.holes = holes_of(slot);
        return true;
      }
      if (writer_.needs_zeros()) SNAP_TRY(writer_.add_zeros(at_, zeros));
      job_.progress.skip(zeros);
      count(0, zeros);
      at_ += zeros;
    }
    return false;
  }

  // Bytes from at_ on that are known to be zeros: whole pieces, or all up to the end.
  Result<uint64_t> zeros_ahead() {
    SNAP_TRY(look_at(at_));
    if (!known_.zero) return 0;
    return (known_.end == source_.size() ? known_.end : round_down(known_.end, piece_)) - at_;
  }

  // Makes known_ the extent at `offset`. Each is asked for once, in order.
  Result<void> look_at(uint64_t offset) {
    if (offset >= known_.begin && offset < known_.end) return {};
    SNAP_ASSIGN(const Extent extent, source_.extent_at(offset, source_.size() - offset));
    known_ = {offset, offset + extent.length, extent.zero};
    return {};
  }

  Result<void> find_data(Slot& slot) {
    slot.ranges.clear();
    const access::WritePiece& piece = slot.piece;
    for (uint64_t at = 0; at < piece.length;) {
      SNAP_TRY(look_at(piece.offset + at));
      const uint64_t end = std::min(known_.end - piece.offset, piece.length);
      if (!known_.zero) {
        if (!slot.ranges.empty() && slot.ranges.back().offset + slot.ranges.back().length == at) {
          slot.ranges.back().length += end - at;
        } else {
          slot.ranges.push_back({at, end - at});
        }
      }
      at = end;
    }
    return {};
  }

  static uint64_t holes_of(const Slot& slot) {
    uint64_t holes = slot.piece.length;
    for (const ByteRange& range : slot.ranges) holes -= range.length;
    return holes;
  }

  // The same where there is a base: the next piece in which the two may differ.
  Result<bool> take_candidates(Slot& slot) {
    slot.candidates.clear();
    slot.progress = 0;
    if (!pending_) {
      SNAP_ASSIGN(pending_, scan_->next(piece_, job_));
      if (!pending_) return false;
    }
    begin(slot, round_down(pending_->offset, piece_));
    const uint64_t end = slot.piece.offset + piece_;
    while (pending_ && pending_->offset < end) {
      Candidate now = *pending_;
      now.length = std::min(now.length, end - now.offset);
      slot.candidates.push_back(now);
      slot.progress += now.length;
      pending_->offset += now.length;
      pending_->length -= now.length;
      if (pending_->length == 0) {
        SNAP_ASSIGN(pending_, scan_->next(piece_, job_));
      }
    }
    return true;
  }

  void begin(Slot& slot, uint64_t offset) {
    if (slot.data == nullptr) slot.data = make_page_buffer(piece_);
    slot.piece.offset = offset;
    slot.piece.length = std::min(piece_, source_.size() - offset);
    slot.piece.data = std::span(slot.data.get(), slot.piece.length);
    slot.piece.units.assign(div_round_up(slot.piece.length, unit_), access::UnitKind::kAbsent);
    slot.piece.extents.clear();
    if (mark_ > 0) slot.piece.marks.assign(div_round_up(slot.piece.length, mark_), false);
  }

  Result<void> fill(Slot& slot) {
    SNAP_TRY(scan_ ? fill_changed(slot) : fill_all(slot));
    const uint64_t used = slot.piece.length % unit_;
    if (used != 0) std::memset(slot.piece.data.data() + slot.piece.length, 0, unit_ - used);
    return writer_.prepare(slot.piece);
  }

  Result<void> fill_all(Slot& slot) {
    access::WritePiece& piece = slot.piece;
    uint64_t filled = 0;
    const auto fill_zeros = [&](uint64_t end) {
      std::memset(piece.data.data() + filled, 0, end - filled);
    };
    for (const ByteRange& range : slot.ranges) {
      fill_zeros(range.offset);
      SNAP_TRY(source_.read_at(piece.offset + range.offset,
                               piece.data.subspan(range.offset, range.length)));
      filled = range.offset + range.length;
      // All units that have data of it.
      std::fill(piece.units.begin() + static_cast<ptrdiff_t>(range.offset / unit_),
                piece.units.begin() + static_cast<ptrdiff_t>(div_round_up(filled, unit_)),
                access::UnitKind::kData);
    }
    fill_zeros(piece.length);
    for (size_t i = 0; i < piece.units.size(); ++i) {
      const bool data = piece.units[i] == access::UnitKind::kData;
      const bool zeros = !data || (options_.detect_zeros && is_all_zero(unit_of(piece.data, i)));
      if (zeros) piece.units[i] = access::UnitKind::kZero;
    }
    return {};
  }

  Result<void> fill_changed(Slot& slot) {
    if (slot.base == nullptr) slot.base = make_page_buffer(piece_);
    access::WritePiece& piece = slot.piece;
    const std::span<std::byte> base(slot.base.get(), piece.length);
    std::vector<bool> wanted(piece.units.size());
    for (const Candidate& one : slot.candidates) {
      const uint64_t from = one.offset - piece.offset;
      for (uint64_t i = from / unit_; i < div_round_up(from + one.length, unit_); ++i) {
        wanted[i] = true;
      }
    }
    for (size_t i = 0; i < wanted.size();) {
      size_t end = i + 1;
      if (wanted[i]) {
        while (end < wanted.size() && wanted[end]) ++end;
        SNAP_TRY(compare(piece, base, i * unit_, std::min(end * unit_, piece.length)));
      }
      i = end;
    }
    return {};
  }

  // Of bytes [from, to) of the piece, which are whole units.
  Result<void> compare(access::WritePiece& piece, std::span<std::byte> base, uint64_t from,
                       uint64_t to) {
    const auto bytes = piece.data.subspan(from, to - from);
    SNAP_TRY(source_.read_at(piece.offset + from, bytes));
    SNAP_TRY(read_base(piece.offset + from, base.subspan(from, to - from)));
    for (size_t i = from / unit_; i * unit_ < to; ++i) {
      const auto mine = unit_of(piece.data, i);
      if (std::memcmp(mine.data(), unit_of(base, i).data(), mine.size()) == 0) continue;
      piece.units[i] = is_all_zero(mine) ? access::UnitKind::kZero : access::UnitKind::kData;
      if (mark_ > 0) mark(piece, base, i * unit_, i * unit_ + mine.size());
    }
    return {};
  }

  // What differs of bytes [from, to) of the piece, of which something does.
  void mark(access::WritePiece& piece, std::span<const std::byte> base, uint64_t from,
            uint64_t to) const {
    for (uint64_t at = from; at < to;) {
      const uint64_t end = std::min(round_down(at, mark_) + mark_, to);
      if (std::memcmp(&piece.data[at], &base[at], end - at) != 0) piece.marks[at / mark_] = true;
      at = end;
    }
  }

  Result<void> read_base(uint64_t offset, std::span<std::byte> out) {
    Image& base = *options_.base;
    const uint64_t left = offset < base.size() ? base.size() - offset : 0;
    const auto there = out.first(std::min<uint64_t>(out.size(), left));
    if (!there.empty()) SNAP_TRY(base.read_at(offset, there));
    std::memset(out.data() + there.size(), 0, out.size() - there.size());
    return {};
  }

  std::span<std::byte> unit_of(std::span<std::byte> data, size_t i) const {
    return data.subspan(i * unit_, std::min(unit_, data.size() - i * unit_));
  }

  void count(uint64_t data, uint64_t zeros) {
    const std::lock_guard lock(mutex_);
    result_.data_bytes += data;
    result_.zero_bytes += zeros;
  }

  Result<void> write(Slot& slot) {
    const access::WritePiece& piece = slot.piece;
    SNAP_TRY(writer_.write(slot.piece));
    uint64_t data = 0;
    for (size_t i = 0; i < piece.units.size(); ++i) {
      if (piece.units[i] == access::UnitKind::kData) data += unit_of(piece.data, i).size();
    }
    count(data, slot.progress - std::min(data, slot.progress));
    job_.progress.skip(slot.holes);
    job_.progress.add(slot.progress - slot.holes);
    return {};
  }

  Image& source_;
  access::ImageWriter& writer_;
  const ConvertOptions& options_;
  const Job& job_;
  const uint64_t unit_;
  const uint64_t piece_;
  const uint64_t mark_;  // bytes; 0: there are none
  std::optional<CandidateScan> scan_;
  std::optional<Candidate> pending_;  // the rest of what the scan gave last
  struct {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool zero = false;
  } known_;  // of the source, bytes
  uint64_t at_ = 0;
  std::vector<Slot> slots_;
  std::mutex mutex_;  // guards what follows
  ConvertResult result_;
};

}  // namespace

Result<ConvertResult> convert_image(Image& source, access::ImageWriter& writer,
                                    const ConvertOptions& options, const Job& job) {
  SNAP_TRY(writer.begin());
  SNAP_ASSIGN(ConvertResult result, Converter(source, writer, options, job).run());
  SNAP_TRY(writer.finish());
  return result;
}

}  // namespace snaptool::ops
