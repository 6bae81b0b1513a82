// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/compose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/bytes.h"
#include "libsnap/base/parallel.h"
#include "libsnap/base/printable.h"

namespace snaptool {
namespace {

constexpr uint32_t kGranule = 4096;  // what is looked at for zeros

struct Slot {
  WindowChange change;
  ChangeRecord result;
};

// Where extents lie, whatever they are.
std::vector<std::pair<uint32_t, uint32_t>> coverage(const std::vector<ChangeExtent>& extents) {
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  for (const ChangeExtent& extent : extents) {
    if (!ranges.empty() && ranges.back().second == extent.offset) {
      ranges.back().second = extent.end();
    } else {
      ranges.emplace_back(extent.offset, extent.end());
    }
  }
  return ranges;
}

// Gives a record the data of its extents, out of their window, which is changed.
void take_data(ChangeRecord& record, std::span<std::byte> window, ChangeWriter& writer) {
  record.data_length = 0;
  for (const ChangeExtent& extent : record.extents) {
    if (extent.kind != ChangeKind::kData) continue;
    if (record.data_length != extent.offset) {
      std::memmove(window.data() + record.data_length, window.data() + extent.offset,
                   extent.length);
    }
    record.data_length += extent.length;
  }
  writer.prepare(record, window.first(record.data_length));
}

// The steps that both share: windows through threads into the writer.
class Rewriter {
 public:
  Rewriter(Chain& chain, ChangeWriter& writer, const Job& job)
      : chain_(chain),
        shape_(chain.shape()),
        writer_(writer),
        job_(job),
        slots_(std::max(1U, job.jobs) * kSlotsPerThread) {}
  virtual ~Rewriter() = default;
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  Result<void> run(ChainReader& reader) {
    reader_ = &reader;
    return parallel_ordered(
        slots_.size(), job_,
        {[this](size_t i) { return take(slots_[i]); },
         [this](size_t i) { return rewrite(slots_[i]); },
         [this](size_t i) -> Result<void> {
           job_.progress.add(kWindowBytes);
           return slots_[i].result.extents.empty() ? Result<void>() : writer_.add(slots_[i].result);
         },
         {}});
  }

 protected:
  virtual Result<bool> take(Slot& slot) {
    slot.result = {};
    const auto next = reader_->peek();
    if (!next) return false;
    SNAP_TRY(reader_->next(slot.change, most_at(*next)));
    slot.result.window = slot.change.window;
    slot.result.windows = slot.change.windows;
    return true;
  }
  // How many windows that become zeros alike may be taken together.
  virtual uint64_t most_at(uint64_t window) const = 0;
  virtual Result<void> rewrite(Slot& slot) = 0;

  Chain& chain_;
  const ChainShape& shape_;
  ChangeWriter& writer_;
  const Job& job_;
  ChainReader* reader_ = nullptr;
  ChainTools tools_;
  std::vector<Slot> slots_;
};

class Composer : public Rewriter {
 public:
  using Rewriter::Rewriter;

 protected:
  uint64_t most_at(uint64_t /*window*/) const override {
    return shape_.full || writer_.takes_runs() ? UINT64_MAX : 1;
  }

  Result<void> rewrite(Slot& slot) override {
    auto& records = slot.change.records;
    const auto first = std::find_if(records.begin(), records.end(),
                                    [](const auto& record) { return record.has_value(); });
    const bool alone = first != records.end() &&
                       std::none_of(first + 1, records.end(),
                                    [](const auto& record) { return record.has_value(); });
    const bool calm = is_calm(slot.change);
    const bool as_it_is = !shape_.full || (first == records.begin() && !has_zeros(**first));
    if (alone && calm && (*first)->compressed && as_it_is) {
      // As it is; but what is in it is checked.
      BufferPool::Lease lease(tools_.buffers());
      ChainTools::Zstd zstd(tools_);
      SNAP_TRY(named(record_data(**first, zstd.get(), lease.bytes()), first - records.begin()));
      slot.result = std::move(**first);
      if (shape_.full) slot.result.old_sum.reset();
      return {};
    }
    BufferPool::Lease lease(tools_.buffers());
    SNAP_ASSIGN(const ReplayedWindow replayed,
                chain_.replay(slot.change, true, OldContent::kWhereKnown, lease.bytes(), tools_));
    if (replayed.unexpected) return chain_.does_not_follow(*replayed.unexpected, slot.change);
    ChangeRecord& result = slot.result;
    for (const ChangeExtent& extent : replayed.extents) {
      if (!shape_.full || extent.kind == ChangeKind::kData) append(result.extents, extent);
    }
    if (result.extents.empty()) return {};
    SNAP_TRY(fit(result, slot.change));
    if (!shape_.full && calm && first != records.end() &&
        coverage(result.extents) == coverage((*first)->extents)) {
      result.old_sum = (*first)->old_sum;
    }
    take_data(result, lease.bytes(), writer_);
    return {};
  }

 private:
  // Zeros beside data may be data, too; but nothing is known of what lies between.
  Result<void> fit(ChangeRecord& record, const WindowChange& change) const {
    if (record.extents.size() <= writer_.most_extents()) return {};
    std::vector<ChangeExtent> joined;
    for (ChangeExtent extent : record.extents) {
      extent.kind = ChangeKind::kData;
      append(joined, extent);
    }
    record.extents = std::move(joined);
    if (record.extents.size() <= writer_.most_extents()) return {};
    return Error(ErrorCode::kUnsupported,
                 fmt::format("the diffs make {} changes in the MiB at byte {}; one diff holds at "
                             "most {}: apply them one after the other",
                             record.extents.size(), change.start(), writer_.most_extents()));
  }

  // Whether no change of size has to do with it.
  bool is_calm(const WindowChange& change) const {
    const uint64_t start_size = shape_.full ? shape_.sizes.front() : shape_.base_size;
    bool same = true;
    uint64_t least = start_size;
    for (const uint64_t size : shape_.sizes) {
      same = same && size == start_size;
      least = std::min(least, size);
    }
    return same || least >= change.end();
  }

  static bool has_zeros(const ChangeRecord& record) {
    return std::any_of(record.extents.begin(), record.extents.end(),
                       [](const ChangeExtent& one) { return one.kind != ChangeKind::kData; });
  }

  template <typename T>
  Result<void> named(Result<T> result, ptrdiff_t which) const {
    if (result) return {};
    return std::move(result).error().with_context(
        fmt::format("'{}'", chain_.name(static_cast<size_t>(which))));
  }
};

class Inverter : public Rewriter {
 public:
  Inverter(Chain& chain, Image& base, ChangeWriter& writer, const Job& job)
      : Rewriter(chain, writer, job), base_(base), cut_at_(shape_.final_size() / kWindowBytes) {}

 protected:
  // Also what the diff cuts off.
  Result<bool> take(Slot& slot) override {
    const auto next = reader_->peek();
    const bool cut_left =
        shape_.final_size() < shape_.base_size && cut_at_ * kWindowBytes < shape_.base_size;
    if (next && (!cut_left || *next <= cut_at_)) {
      if (cut_left && *next == cut_at_) ++cut_at_;
      return Rewriter::take(slot);
    }
    slot.result = {};
    if (!cut_left) return false;
    slot.change.records.clear();
    slot.change.windows = slot.result.windows = 1;
    slot.result.window = slot.change.window = cut_at_++;
    return true;
  }

  // Behind the base's end nothing is given back.
  uint64_t most_at(uint64_t window) const override {
    return window * kWindowBytes >= shape_.base_size ? UINT64_MAX : 1;
  }

  Result<void> rewrite(Slot& slot) override {
    BufferPool::Lease old_lease(tools_.buffers());
    BufferPool::Lease new_lease(tools_.buffers());
    const auto before = old_lease.bytes();
    const auto after = new_lease.bytes();
    ChangeRecord& result = slot.result;
    const uint64_t start = slot.change.start();
    const uint64_t here = std::min(kWindowBytes, size_behind(start));
    if (!slot.change.records.empty() && slot.change.records[0]) {
      const ChangeRecord& record = *slot.change.records[0];
      for (const ChangeExtent& extent : record.extents) {
        SNAP_TRY(read(start, extent, before));
      }
      std::memcpy(after.data(), before.data(), after.size());
      SNAP_ASSIGN(const ReplayedWindow replayed,
                  chain_.replay(slot.change, true, OldContent::kAll, after, tools_));
      if (replayed.unexpected) {
        return Error(ErrorCode::kWrongBase,
                     fmt::format("'{}' is not what '{}' was made for: the window at byte {} has "
                                 "other content",
                                 base_.name(), chain_.name(0), start));
      }
      for (const ChangeExtent& extent : record.extents) {
        add(result.extents, extent.offset, std::min<uint64_t>(extent.end(), here), before);
      }
    }
    // What is cut off is zeros to the one that comes from there.
    const uint64_t cut = shape_.final_size();
    if (cut < start + here) {
      const auto from = static_cast<uint32_t>(std::max(cut, start) - start);
      const ChangeExtent rest{from, static_cast<uint32_t>(here - from), ChangeKind::kData};
      SNAP_TRY(read(start, rest, before));
      std::memset(after.data() + from, 0, rest.length);
      add_unless_zero(result.extents, from, rest.end(), before);
    }
    if (result.extents.empty()) return {};
    if (result.extents.size() > writer_.most_extents()) SNAP_TRY(join(slot, before, after));
    Sha256 sum;
    for (const ChangeExtent& extent : result.extents) {
      sum.update(after.subspan(extent.offset, extent.length));
    }
    result.old_sum = sum.finish_digest();
    take_data(result, before, writer_);
    return {};
  }

 private:
  // One extent instead of many: what lies between is in the base.
  Result<void> join(Slot& slot, std::span<std::byte> before, std::span<std::byte> after) const {
    std::vector<ChangeExtent>& extents = slot.result.extents;
    const uint32_t from = extents.front().offset;
    const ChangeExtent all{from, extents.back().end() - from, ChangeKind::kData};
    uint32_t at = from;
    for (const ChangeExtent& extent : extents) {
      const ChangeExtent between{at, extent.offset - at, ChangeKind::kData};
      SNAP_TRY(read(slot.change.start(), between, before));
      std::memcpy(after.data() + at, before.data() + at, between.length);
      at = extent.end();
    }
    extents.assign(1, all);
    return {};
  }

  uint64_t size_behind(uint64_t start) const {
    return shape_.base_size > start ? shape_.base_size - start : 0;
  }

  // Behind the base's end there are zeros.
  Result<void> read(uint64_t start, const ChangeExtent& extent, std::span<std::byte> window) const {
    const auto out = window.subspan(extent.offset, extent.length);
    const uint64_t offset = start + extent.offset;
    const size_t there = std::min<uint64_t>(out.size(), size_behind(offset));
    if (there > 0) SNAP_TRY(base_.read_at(offset, out.first(there)));
    std::memset(out.data() + there, 0, out.size() - there);
    return {};
  }

  static void add(std::vector<ChangeExtent>& extents, uint64_t from, uint64_t to,
                  std::span<const std::byte> window) {
    while (from < to) {
      const uint64_t next = std::min(to, from + kGranule - from % kGranule);
      const bool zero = is_all_zero(window.subspan(from, next - from));
      append(extents, {static_cast<uint32_t>(from), static_cast<uint32_t>(next - from),
                       zero ? ChangeKind::kZero : ChangeKind::kData});
      from = next;
    }
  }

  static void add_unless_zero(std::vector<ChangeExtent>& extents, uint64_t from, uint64_t to,
                              std::span<const std::byte> window) {
    while (from < to) {
      const uint64_t next = std::min(to, from + kGranule - from % kGranule);
      if (!is_all_zero(window.subspan(from, next - from))) add(extents, from, next, window);
      from = next;
    }
  }

  Image& base_;
  uint64_t cut_at_;  // the next window of what the diff cuts off
};

Result<void> check_zeroed(const ChainShape& shape, const ChangeWriter& writer, uint64_t most) {
  const uint64_t windows = shape.silent_windows();
  if (shape.full || writer.takes_runs() || windows <= most / kWindowBytes) return {};
  return Error(ErrorCode::kUnsupported,
               fmt::format("the diffs cut the image to {} and make it larger again: as one diff, "
                           "they would be {} records that zero what was cut off",
                           format_size(shape.kept_size()), windows))
      .with_remedy(Remedy::kRaiseZeroed);
}

}  // namespace

Result<ChangeEnd> compose_changes(Chain& chain, ChangeWriter& writer, const std::string& maker,
                                  const Job& job, uint64_t most_zeroed) {
  const ChainShape& shape = chain.shape();
  SNAP_TRY(check_zeroed(shape, writer, most_zeroed));
  const size_t last = shape.sizes.size() - 1;
  ChangeHeader header;
  header.full = shape.full;
  header.reverse = false;
  header.identities = true;
  header.inherited_id = true;
  header.base_size = shape.base_size;
  header.target_size = shape.final_size();
  header.parent_id = shape.parent_id;
  header.expectations = chain.header(0).expectations;
  header.maker = maker;
  header.from_name = chain.header(0).from_name;
  header.to_name = chain.header(last).to_name;
  SNAP_TRY(writer.begin(header));
  SNAP_ASSIGN(ChainReader reader, chain.read(true));
  Composer composer(chain, writer, job);
  SNAP_TRY(composer.run(reader));
  SNAP_ASSIGN(const auto ends, chain.ends(reader));
  ChangeEnd end;
  end.child_id = ends.back().child_id;
  end.base_sum = ends.front().base_sum;
  end.target_sum = ends.back().target_sum;
  end.base_content = ends.front().base_content;
  end.target_content = ends.back().target_content;
  SNAP_TRY(writer.finish(end));
  return end;
}

Result<ChangeEnd> invert_changes(Chain& chain, Image& base,
                                 const std::optional<Sha256::Digest>& child_id,
                                 ChangeWriter& writer, const std::string& maker, const Job& job) {
  const ChainShape& shape = chain.shape();
  if (shape.full) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is a full diff: there is nothing before it", chain.name(0)));
  }
  const ChangeHeader& given = chain.header(0);
  if (!given.from_name.empty() && given.to_name.empty()) {
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("'{}' starts from the snapshot '{}', but does not name the one that it "
                    "leads to: its inverse would pass for a whole image",
                    chain.name(0), excerpt(given.from_name)));
  }
  if (base.size() != shape.base_size) {
    return Error(ErrorCode::kWrongBase,
                 fmt::format("'{}' has {} bytes; '{}' is for an image of {}", base.name(),
                             base.size(), chain.name(0), shape.base_size));
  }
  const auto& expectations = chain.header(0).expectations;
  SNAP_ASSIGN(const auto unmet, unmet_expectations(expectations, base));
  if (!unmet.empty()) {
    return Error(
        ErrorCode::kWrongBase,
        fmt::format("'{}' is not what '{}' was made for: it has different content at byte {}",
                    base.name(), chain.name(0), expectations[unmet.front()].position()));
  }
  ChangeHeader header;
  header.reverse = false;
  header.identities = true;
  header.inherited_id = shape.parent_id.has_value();
  header.base_size = shape.final_size();
  header.target_size = shape.base_size;
  header.parent_id = child_id;
  header.maker = maker;
  header.from_name = chain.header(0).to_name;
  header.to_name = chain.header(0).from_name;
  const auto parent_id = shape.parent_id;
  SNAP_TRY(writer.begin(header));
  SNAP_ASSIGN(ChainReader reader, chain.read(true));
  Inverter inverter(chain, base, writer, job);
  SNAP_TRY(inverter.run(reader));
  SNAP_ASSIGN(const auto ends, chain.ends(reader));
  ChangeEnd end;
  end.child_id = parent_id;
  end.base_sum = ends.front().target_sum;
  end.target_sum = ends.front().base_sum;
  end.base_content = ends.front().target_content;
  end.target_content = ends.front().base_content;
  SNAP_TRY(writer.finish(end));
  return end;
}

}  // namespace snaptool
