// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsnap/base/check.h"
#include "libsnap/base/printable.h"

namespace snaptool {
namespace {

// What has to become zeros without a record for it: what was cut off and grown again, and what is
// added to an image that does not have zeros there.
WindowRange silent_windows(const ChainShape& shape, bool resizable) {
  const uint64_t from = shape.kept_size();
  const uint64_t to =
      resizable ? std::min(shape.base_size, shape.final_size()) : shape.final_size();
  if (from >= to) return {};
  return {from / kWindowBytes, (to - 1) / kWindowBytes + 1};
}

// The windows in which an image of the chain ends, and those behind them.
std::vector<uint64_t> borders_of(const ChainShape& shape) {
  std::vector<uint64_t> borders;
  const auto add = [&](uint64_t size) {
    borders.push_back(size / kWindowBytes);
    borders.push_back(size / kWindowBytes + 1);
  };
  add(shape.base_size);
  for (const uint64_t size : shape.sizes) add(size);
  std::sort(borders.begin(), borders.end());
  return borders;
}

// Puts `next` over what is there: cuts out what lies below it.
void overlay(std::vector<ChangeExtent>& extents, std::span<const ChangeExtent> next) {
  std::vector<ChangeExtent> result;
  result.reserve(extents.size() + next.size());
  size_t i = 0;
  for (const ChangeExtent& above : next) {
    // What lies before it stays; of what it covers in part, the rest.
    while (i < extents.size() && extents[i].offset < above.offset) {
      ChangeExtent& below = extents[i];
      if (below.end() <= above.offset) {
        result.push_back(below);
        ++i;
        continue;
      }
      result.push_back({below.offset, above.offset - below.offset, below.kind});
      below.length = below.end() - above.offset;
      below.offset = above.offset;
    }
    while (i < extents.size() && extents[i].end() <= above.end()) ++i;
    if (i < extents.size() && extents[i].offset < above.end()) {
      extents[i].length = extents[i].end() - above.end();
      extents[i].offset = above.end();
    }
    result.push_back(above);
  }
  result.insert(result.end(), extents.begin() + static_cast<ptrdiff_t>(i), extents.end());
  extents = std::move(result);
}

void cut(std::vector<ChangeExtent>& extents, uint64_t length) {
  while (!extents.empty() && extents.back().end() > length) {
    ChangeExtent& last = extents.back();
    if (last.offset < length) {
      last.length = static_cast<uint32_t>(length) - last.offset;
      return;
    }
    extents.pop_back();
  }
}

// The part of bytes [from, to) that lies in a window, as an extent.
std::optional<ChangeExtent> within(const WindowChange& change, uint64_t from, uint64_t to) {
  from = std::max(from, change.start());
  to = std::min(to, change.end());
  if (from >= to) return std::nullopt;
  return ChangeExtent{static_cast<uint32_t>(from - change.start()),
                      static_cast<uint32_t>(to - from), ChangeKind::kDiscard};
}

}  // namespace

uint64_t ChainShape::silent_windows() const {
  const WindowRange silent = snaptool::silent_windows(*this, true);
  return silent.end - silent.begin;
}

uint64_t ChainShape::kept_size() const {
  return std::min(base_size, *std::min_element(sizes.begin(), sizes.end()));
}

ChainTools::Zstd::Zstd(ChainTools& tools) : tools_(tools) {
  const std::lock_guard lock(tools_.mutex_);
  if (tools_.free_.empty()) {
    zstd_ = std::make_unique<ZstdDecompressor>();
  } else {
    zstd_ = std::move(tools_.free_.back());
    tools_.free_.pop_back();
  }
}

ChainTools::Zstd::~Zstd() {
  const std::lock_guard lock(tools_.mutex_);
  tools_.free_.push_back(std::move(zstd_));
}

Result<ChainReader> ChainReader::open(std::vector<std::unique_ptr<ChangeReader>> readers,
                                      WindowRange silent, std::vector<uint64_t> borders) {
  ChainReader chain;
  chain.silent_ = silent;
  chain.borders_ = std::move(borders);
  chain.readers_ = std::move(readers);
  chain.heads_.resize(chain.readers_.size());
  for (size_t i = 0; i < chain.readers_.size(); ++i) SNAP_TRY(chain.advance(i));
  return chain;
}

std::optional<uint64_t> ChainReader::peek() const {
  std::optional<uint64_t> window;
  for (const auto& head : heads_) {
    if (head && (!window || head->window < *window)) window = head->window;
  }
  if (silent_.begin < silent_.end && (!window || silent_.begin < *window)) window = silent_.begin;
  return window;
}

uint64_t ChainReader::alike(uint64_t window, uint64_t most) const {
  const auto until = [&](uint64_t other) {
    if (other > window) most = std::min(most, other - window);
  };
  if (const auto border = std::upper_bound(borders_.begin(), borders_.end(), window);
      border != borders_.end()) {
    until(*border);
  }
  for (const auto& head : heads_) {
    if (!head) continue;
    until(head->window);
    until(head->window + head->windows);
  }
  return most;
}

Result<void> ChainReader::next(WindowChange& change, uint64_t most) {
  change.window = *peek();
  change.windows = alike(change.window, most);
  change.records.assign(heads_.size(), std::nullopt);
  for (size_t i = 0; i < heads_.size(); ++i) {
    if (!heads_[i] || heads_[i]->window != change.window) continue;
    if (heads_[i]->windows > change.windows) {
      change.records[i] = *heads_[i];
      heads_[i]->window += change.windows;
      heads_[i]->windows -= change.windows;
    } else {
      change.records[i] = std::move(*heads_[i]);
      SNAP_TRY(advance(i));
    }
    change.records[i]->windows = change.windows;
  }
  if (silent_.begin < silent_.end && silent_.begin == change.window) {
    silent_.begin += change.windows;  // it begins and ends at borders
  }
  return {};
}

Result<void> ChainReader::advance(size_t i) {
  ChangeRecord record;
  SNAP_ASSIGN(const bool any, readers_[i]->next(record));
  if (any) {
    heads_[i] = std::move(record);
  } else {
    heads_[i].reset();
  }
  return {};
}

Result<Chain> Chain::open(std::vector<ChainLink> links, uint64_t image_size, Linking linking) {
  SNAP_CHECK(!links.empty());
  Chain chain(std::move(links));
  chain.linking_ = linking;
  ChainShape& shape = chain.shape_;
  for (size_t i = 0; i < chain.links_.size(); ++i) {
    SNAP_ASSIGN(auto reader, chain.links_[i].open());
    chain.headers_.push_back(reader->header());
    chain.readers_.push_back(std::move(reader));
    const ChangeHeader& header = chain.header(i);
    const std::string& name = chain.name(i);
    if (i == 0) {
      shape.full = header.full;
      shape.base_size = header.full ? 0 : header.base_size.value_or(image_size);
      shape.has_old_sums = header.full || header.base_size.has_value();
      shape.parent_id = header.parent_id;
    } else if (header.full) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' is a full diff: it can only be the first of a chain", name));
    } else if (header.base_size && *header.base_size != shape.sizes.back()) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' does not follow '{}': it is for an image of {} bytes, not {} "
                               "(is a diff missing between them?)",
                               name, chain.name(i - 1), *header.base_size, shape.sizes.back()));
    } else if (const std::string& to = chain.header(i - 1).to_name;
               !to.empty() && !header.from_name.empty() && header.from_name != to) {
      return Error(ErrorCode::kWrongBase,
                   fmt::format("'{}' does not follow '{}': it starts from the snapshot '{}', not "
                               "from '{}'",
                               name, chain.name(i - 1), excerpt(header.from_name), excerpt(to)));
    }
    shape.sizes.push_back(header.target_size);
  }
  return chain;
}

Result<ChainReader> Chain::read(bool resizable) {
  std::vector<std::unique_ptr<ChangeReader>> readers = std::move(readers_);
  readers_.clear();
  if (readers.empty()) {
    for (const ChainLink& link : links_) {
      SNAP_ASSIGN(auto one, link.open());
      readers.push_back(std::move(one));
    }
  }
  return ChainReader::open(std::move(readers), silent_windows(shape_, resizable),
                           borders_of(shape_));
}

Error Chain::does_not_follow(size_t i, const WindowChange& change) const {
  const auto& record = change.records[i];
  const uint64_t at = change.start() + (record ? record->extents.front().offset : 0);
  return {
      ErrorCode::kWrongBase,
      fmt::format("'{}' does not follow '{}': it expects different content at byte {} (is a diff "
                  "missing between them, or is the order another?)",
                  name(i), i == 0 ? "nothing" : name(i - 1), at)};
}

// The strongest that both have decides: their contents, whole; what they come from and lead to.
Result<void> Chain::check_link(size_t i, const ChangeHeader& before, const ChangeEnd& end_before,
                               const ChangeHeader& header, const ChangeEnd& end) const {
  const auto decide = [&](const auto& leads_to, const auto& starts_from, std::string_view what) {
    std::optional<Result<void>> decision;
    if (!leads_to || !starts_from) return decision;
    decision = *leads_to == *starts_from
                   ? Result<void>()
                   : Error(ErrorCode::kWrongBase,
                           fmt::format("'{}' does not follow '{}': {} (is a diff missing between "
                                       "them, or is the order another?)",
                                       name(i), name(i - 1), what));
    return decision;
  };
  constexpr std::string_view kContent = "it starts from an image with different content";
  if (auto by = decide(end_before.target_sum, end.base_sum, kContent)) return *by;
  if (auto by = decide(end_before.target_content, end.base_content, kContent)) return *by;
  if (auto by = decide(end_before.child_id, header.parent_id, "it names another parent"))
    return *by;
  if (!before.to_name.empty() && before.to_name == header.from_name) return {};
  if (linking_ == Linking::kOptional) return {};
  return Error(ErrorCode::kWrongBase,
               fmt::format("nothing says that '{}' follows '{}'", name(i), name(i - 1)))
      .with_remedy(Remedy::kLinkDiffs);
}

Result<std::vector<ChangeEnd>> Chain::ends(const ChainReader& reader) const {
  std::vector<ChangeEnd> ends;
  for (size_t i = 0; i < links_.size(); ++i) {
    ends.push_back(reader.reader(i).end());
    if (i == 0) continue;
    SNAP_TRY(check_link(i, reader.reader(i - 1).header(), ends[i - 1], reader.reader(i).header(),
                        ends[i]));
  }
  return ends;
}

// Whether all of the extents lie within others, which ascend.
static bool covers(std::span<const ChangeExtent> known, std::span<const ChangeExtent> extents) {
  size_t i = 0;
  for (const ChangeExtent& extent : extents) {
    uint32_t at = extent.offset;
    while (i < known.size() && known[i].end() <= at) ++i;
    for (size_t k = i; at < extent.end(); ++k) {
      if (k == known.size() || known[k].offset > at) return false;
      at = known[k].end();
    }
  }
  return true;
}

Result<ReplayedWindow> Chain::replay(const WindowChange& change, bool resizable, OldContent old,
                                     std::span<std::byte> window, ChainTools& tools) const {
  ReplayedWindow done;
  BufferPool::Lease scratch(tools.buffers());
  ChainTools::Zstd zstd(tools);
  const auto put_zeros = [&](const ChangeExtent& extent) {
    std::memset(window.data() + extent.offset, 0, extent.length);
  };
  const auto add_silent = [&](uint64_t from, uint64_t to) {
    if (const auto extent = within(change, from, to)) {
      overlay(done.extents, {&*extent, 1});
      put_zeros(*extent);
    }
  };
  const bool from_zeros = shape_.full && old == OldContent::kWhereKnown;
  if (from_zeros) std::memset(window.data(), 0, window.size());
  uint64_t size = shape_.base_size;
  if (!resizable) add_silent(size, shape_.final_size());
  for (size_t i = 0; i < change.records.size(); ++i) {
    if (const auto& record = change.records[i]) {
      const bool known = old == OldContent::kAll || from_zeros ||
                         (old == OldContent::kWhereKnown && covers(done.extents, record->extents));
      if (known && record->old_sum && !done.unexpected) {
        Sha256 sum;
        for (const ChangeExtent& extent : record->extents) {
          sum.update(window.subspan(extent.offset, extent.length));
        }
        if (sum.finish_digest() != *record->old_sum) done.unexpected = i;
      }
      auto decoded = record_data(*record, zstd.get(), scratch.bytes());
      if (!decoded) {
        return std::move(decoded).error().with_context(fmt::format("'{}'", name(i)));
      }
      std::span<const std::byte> data = *decoded;
      for (const ChangeExtent& extent : record->extents) {
        if (extent.kind == ChangeKind::kData) {
          std::memcpy(window.data() + extent.offset, data.data(), extent.length);
          data = data.subspan(extent.length);
        } else {
          put_zeros(extent);
        }
      }
      overlay(done.extents, record->extents);
    }
    add_silent(shape_.sizes[i], size);
    size = shape_.sizes[i];
  }
  const uint64_t end = shape_.final_size();
  cut(done.extents, end > change.start() ? std::min(kWindowBytes, end - change.start()) : 0);
  return done;
}

}  // namespace snaptool
