// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

#include "libsnap/base/buffer_pool.h"
#include "libsnap/base/bytes.h"
#include "libsnap/base/check.h"
#include "libsnap/base/parallel.h"
#include "libsnap/diff/candidates.h"

namespace snaptool {
namespace {

static_assert(kWindowBytes == kIoPiece, "a window fits a buffer of BufferPool");

// The base of a full stream.
class NoImage : public Image {
 public:
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return 0; }
  Result<void> read_at(uint64_t /*offset*/, std::span<std::byte> /*out*/) override { return {}; }
  Result<Extent> extent_at(uint64_t /*offset*/, uint64_t limit) override {
    return Extent{limit, true, 0, nullptr, 0};
  }

 private:
  std::string name_;
};

// A window on its way from the images to the stream.
struct Work {
  std::vector<Candidate> candidates;
  ChangeRecord record;
  ContentSum::Part base;  // what it adds to the identities
  ContentSum::Part target;
};

class Exporter {
 public:
  // `full`: `base` is nothing.
  Exporter(Image& base, bool full, Image& target, ChangeWriter& writer,
           const ExportOptions& options, const Job& job)
      : base_(base),
        full_(full),
        target_(target),
        writer_(writer),
        options_(options),
        job_(job),
        identify_(options.identities && options.limit == nullptr),
        // An identity takes what is behind a smaller target's end, too.
        scan_(base, target, identify_ ? std::max(base.size(), target.size()) : target.size()),
        slots_(std::max(1U, job.jobs) * kSlotsPerThread) {
    SNAP_CHECK(std::has_single_bit(options.granularity) && options.granularity >= kSectorSize &&
               options.granularity <= kWindowBytes);
    if (options.limit != nullptr && !options.check_limit) scan_.limit_to(*options.limit);
  }

  Result<void> run() {
    return parallel_ordered(slots_.size(), job_,
                            {[this](size_t i) { return take(slots_[i]); },
                             [this](size_t i) { return look(slots_[i]); },
                             [this](size_t i) { return add(slots_[i]); },
                             {}});
  }

  // The identities, if all of both images was read.
  void tell(ChangeEnd& end) const {
    if (!identify_ || scan_.same_storage_bytes() > 0) return;
    end.target_content = target_sum_.finish(target_.size());
    if (!full_) end.base_content = base_sum_.finish(base_.size());
  }

 private:
  // The candidates of the next window that has some.
  Result<bool> take(Work& work) {
    work.candidates.clear();
    work.base = work.target = {};
    reset(work.record);
    if (!pending_) {
      SNAP_ASSIGN(pending_, scan_.next(kWindowBytes, job_));
      if (!pending_) return false;
    }
    const uint64_t window = pending_->offset / kWindowBytes;
    const uint64_t end = (window + 1) * kWindowBytes;
    work.record.window = window;
    while (pending_ && pending_->offset < end) {
      Candidate now = *pending_;
      now.length = std::min(now.length, end - now.offset);
      work.candidates.push_back(now);
      pending_->offset += now.length;
      pending_->length -= now.length;
      if (pending_->length == 0) {
        SNAP_ASSIGN(pending_, scan_.next(kWindowBytes, job_));
      }
    }
    return true;
  }

  // The two windows' bytes, at their places.
  struct Buffers {
    std::byte* a;
    std::byte* b;
  };

  Result<void> look(Work& work) {
    BufferPool::Lease lease_a(pool_);
    BufferPool::Lease lease_b(pool_);
    const Buffers buffers{lease_a.bytes().data(), lease_b.bytes().data()};
    const uint64_t start = work.record.start();
    if (identify_) clear_gaps(work, buffers);
    for (const Candidate& candidate : work.candidates) {
      const auto a = std::span(buffers.a + (candidate.offset - start), candidate.length);
      const auto b = std::span(buffers.b + (candidate.offset - start), candidate.length);
      SNAP_TRY(read(base_, candidate.zero_a, candidate.offset, a));
      SNAP_TRY(read(target_, candidate.zero_b, candidate.offset, b));
      find_changes(candidate, candidate.offset - start, buffers, work.record);
      job_.progress.add(candidate.length);
    }
    if (identify_) identify(work, buffers);
    if (options_.check_limit && options_.limit != nullptr)
      SNAP_TRY(check_limit(work.record, buffers));
    if (!work.record.extents.empty()) gather(buffers, work.record);
    return {};
  }

  // What is no candidate is zeros in both, as far as identities are told in the end.
  static void clear_gaps(const Work& work, const Buffers& buffers) {
    uint64_t at = 0;
    const auto clear_to = [&](uint64_t end) {
      std::memset(buffers.a + at, 0, end - at);
      std::memset(buffers.b + at, 0, end - at);
    };
    for (const Candidate& candidate : work.candidates) {
      clear_to(candidate.offset - work.record.start());
      at = candidate.offset - work.record.start() + candidate.length;
    }
    clear_to(kWindowBytes);
  }

  void identify(Work& work, const Buffers& buffers) const {
    work.target = ContentSum::part_of(work.record.window, {buffers.b, kWindowBytes});
    if (full_) return;
    // Where nothing changes, both add the same; but a smaller target does not have all of it.
    const bool same =
        work.record.extents.empty() && work.record.start() + kWindowBytes <= target_.size();
    work.base =
        same ? work.target : ContentSum::part_of(work.record.window, {buffers.a, kWindowBytes});
  }

  // What changes must lie where the store has exceptions.
  Result<void> check_limit(const ChangeRecord& record, const Buffers& buffers) const {
    const std::lock_guard lock(limit_mutex_);
    for (const ChangeExtent& extent : record.extents) {
      uint64_t at = record.start() + extent.offset;
      const uint64_t end = at + extent.length;
      while (at < end) {
        const bool there = at < options_.limit->size();
        Extent known{end - at, false, 0, nullptr, 1};
        if (there) {
          SNAP_ASSIGN(known,
                      options_.limit->extent_at(at, std::min(end, options_.limit->size()) - at));
        }
        const size_t in_window = at - record.start();
        if (known.depth > 0 && std::memcmp(buffers.a + in_window, buffers.b + in_window,
                                           std::min(known.length, end - at)) != 0) {
          return Error(ErrorCode::kWrongBase,
                       fmt::format("'{}' and '{}' differ at byte {}, where the store has no "
                                   "exception: it does not say what changed between them",
                                   base_.name(), target_.name(), at));
        }
        at += known.length;
      }
    }
    return {};
  }

  static Result<void> read(Image& image, bool zero, uint64_t offset, std::span<std::byte> out) {
    const uint64_t left = zero || offset >= image.size() ? 0 : image.size() - offset;
    const auto there = out.first(std::min<uint64_t>(out.size(), left));
    if (!there.empty()) SNAP_TRY(image.read_at(offset, there));
    std::memset(out.data() + there.size(), 0, out.size() - there.size());
    return {};
  }

  void find_changes(const Candidate& candidate, size_t from, const Buffers& buffers,
                    ChangeRecord& record) const {
    const size_t unit = options_.granularity;
    if (candidate.offset >= target_.size()) return;
    const size_t end = from + std::min(candidate.length, target_.size() - candidate.offset);
    if (std::memcmp(buffers.a + from, buffers.b + from, end - from) == 0) return;
    while (from < end) {
      const size_t to = std::min(end, from + unit - from % unit);
      const std::span<const std::byte> b(buffers.b + from, to - from);
      if (std::memcmp(buffers.a + from, b.data(), b.size()) != 0) {
        const ChangeKind kind = candidate.zero_b ? ChangeKind::kDiscard
                                : is_all_zero(b) ? ChangeKind::kZero
                                                 : ChangeKind::kData;
        append(record.extents,
               {static_cast<uint32_t>(from), static_cast<uint32_t>(to - from), kind});
      }
      from = to;
    }
  }

  // Sums and data of what changed. The data are moved together at the start of their buffer.
  void gather(const Buffers& buffers, ChangeRecord& record) {
    Sha256 old;
    std::byte* data = nullptr;
    for (const ChangeExtent& extent : record.extents) {
      if (options_.old_sums) old.update({buffers.a + extent.offset, extent.length});
      if (extent.kind != ChangeKind::kData) continue;
      std::byte* const from = buffers.b + extent.offset;
      if (data == nullptr) data = from;
      std::byte* const to = data + record.data_length;
      if (to != from) std::memmove(to, from, extent.length);
      record.data_length += extent.length;
    }
    if (options_.old_sums) record.old_sum = old.finish_digest();
    writer_.prepare(record, {data, record.data_length});
  }

  static void reset(ChangeRecord& record) {
    RawBytes payload = std::move(record.payload);
    payload.clear();
    record = {};
    record.payload = std::move(payload);
  }

  Result<void> add(Work& work) {
    base_sum_.add(work.base);
    target_sum_.add(work.target);
    if (work.record.extents.empty()) return {};
    return writer_.add(work.record);
  }

  Image& base_;
  bool full_;
  Image& target_;
  ChangeWriter& writer_;
  const ExportOptions& options_;
  const Job& job_;
  bool identify_;
  ContentSum base_sum_;
  ContentSum target_sum_;
  mutable std::mutex limit_mutex_;
  CandidateScan scan_;
  std::optional<Candidate> pending_;  // the rest of what the scan gave last
  std::vector<Work> slots_;
  BufferPool pool_;
};

}  // namespace

Result<ChangeEnd> export_changes(Image* base, Image& target, ChangeWriter& writer,
                                 const ExportOptions& options, const Job& job) {
  ChangeHeader header;
  header.full = base == nullptr;
  header.reverse = options.reverse;
  header.identities = options.identities || options.target_content;
  header.base_size = base == nullptr ? 0 : base->size();
  header.target_size = target.size();
  header.parent_id = options.parent_id;
  header.maker = options.maker;
  header.from_name = options.from_name;
  header.to_name = options.to_name;
  if (base != nullptr && !options.expectations.empty()) {
    SNAP_ASSIGN(const auto unmet, unmet_expectations(options.expectations, *base));
    if (!unmet.empty()) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' is not the state that the parent leads to: it has other "
                               "content at byte {}",
                               base->name(), options.expectations[unmet.front()].position()));
    }
    header.expectations = options.expectations;
  }
  SNAP_TRY(writer.begin(header));
  NoImage nothing;
  ExportOptions adjusted = options;
  if (base == nullptr) adjusted.old_sums = false;
  Exporter exporter(base == nullptr ? nothing : *base, base == nullptr, target, writer, adjusted,
                    job);
  SNAP_TRY(exporter.run());
  ChangeEnd end;
  end.base_sum = options.base_sum;
  end.target_sum = options.target_sum;
  end.base_content = options.base_content;
  end.target_content = options.target_content;
  exporter.tell(end);
  SNAP_TRY(writer.finish(end));
  return end;
}

}  // namespace snaptool
