// SPDX-License-Identifier: Apache-2.0
#include "formats/common/cluster_chain.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/check.h"

namespace snaptool {
namespace {

using LinkKind = ClusterLink::Kind;
constexpr uint32_t kPollEach = 8192;
constexpr const char* kReused = "it is deleted, and clusters that it may have had are in use";

}  // namespace

std::string ClusterChain::reason_of(const ClusterLink& link, uint32_t cluster, uint32_t length) {
  switch (link.kind) {
    case LinkKind::kFree:
      return fmt::format("its cluster {} is free", cluster);
    case LinkKind::kBad:
      return fmt::format("its cluster {} is marked as bad", cluster);
    case LinkKind::kOutside:
      return fmt::format("its chain leads to cluster {}, which is none", link.next);
    default:
      return fmt::format("its chain ends after {} clusters", length);
  }
}

Result<ClusterChain> ClusterChain::check(ClusterTable& table, const ImagePages& pages, Kind kind,
                                         uint32_t first, uint64_t most) {
  ClusterChain chain;
  chain.kind_ = kind;
  chain.first_ = first;
  if (most == 0) return chain;
  most = std::min(most, uint64_t{table.clusters()} + 1);
  if (first == 0) {
    chain.reason_ = "it has no clusters";
  } else if (!table.has(first)) {
    chain.reason_ = fmt::format("it begins at cluster {}, which is none", first);
  } else if (chain.is_contiguous()) {
    SNAP_TRY(chain.check_contiguous(table, pages, most));
  } else {
    SNAP_TRY(chain.check_linked(table, pages, most));
  }
  chain.last_ = {0, first};
  return chain;
}

Result<void> ClusterChain::check_contiguous(ClusterTable& table, const ImagePages& pages,
                                            uint64_t most) {
  const uint32_t left = table.clusters() - (first_ - 2);
  length_ = static_cast<uint32_t>(std::min<uint64_t>(left, most));
  if (most > left) reason_ = fmt::format("only {} clusters come from its first on", left);
  if (!is_deleted()) return {};
  for (uint32_t i = 0; i < length_; ++i) {
    if (i % kPollEach == 0) SNAP_TRY(pages.poll());
    SNAP_ASSIGN(const bool free, table.is_free(first_ + i));
    if (free) continue;
    length_ = 0;  // nothing of it is known
    reason_ = kReused;
  }
  return {};
}

// Brent's search for a loop, which keeps one cluster.
Result<void> ClusterChain::check_linked(ClusterTable& table, const ImagePages& pages,
                                        uint64_t most) {
  uint32_t cluster = first_;
  uint32_t held = first_;
  uint64_t power = 1;
  uint64_t since = 0;
  // A loop within what is needed is found within four times as many steps.
  for (uint64_t step = 0; step < 4 * most; ++step) {
    if (step % kPollEach == 0) SNAP_TRY(pages.poll());
    SNAP_ASSIGN(const std::optional<uint32_t> next, follow(table, cluster, most));
    if (!next) return {};
    cluster = *next;
    ++since;
    if (cluster == held) return end_loop(table, static_cast<uint32_t>(since), most);
    if (since == power) {
      held = cluster;
      power *= 2;
      since = 0;
    }
  }
  return {};
}

// Takes a cluster, if it is sound and needed; the next one.
Result<std::optional<uint32_t>> ClusterChain::follow(ClusterTable& table, uint32_t cluster,
                                                     uint64_t most) {
  const auto link = table.next(cluster);
  const auto free = link && is_deleted() ? table.is_free(cluster) : Result<bool>(is_deleted());
  if (!link || !free) {
    const Error& error = link ? free.error() : link.error();
    if (error.code() != ErrorCode::kCorruption) return error;
    reason_ = error.describe();
    return std::optional<uint32_t>();
  }
  const bool sound = *free == is_deleted() && (is_deleted() || link->kind != LinkKind::kFree) &&
                     link->kind != LinkKind::kBad;
  if (sound && length_ < most) add_mark(cluster);
  if (sound && link->kind == LinkKind::kCluster) return std::optional(link->next);
  if (length_ < most) {
    reason_ = *free == is_deleted() ? reason_of(*link, cluster, length_) : kReused;
  }
  return std::optional<uint32_t>();
}

Result<void> ClusterChain::end_loop(ClusterTable& table, uint32_t period, uint64_t most) {
  SNAP_ASSIGN(const uint32_t known, distinct(table, period));
  if (known >= most) return {};
  length_ = known;
  reason_ = fmt::format("its chain leads back to itself after {} clusters", known);
  return {};
}

// How many clusters a chain has that ends in a loop of `period`.
Result<uint32_t> ClusterChain::distinct(ClusterTable& table, uint32_t period) const {
  uint32_t ahead = first_;
  for (uint32_t i = 0; i < period; ++i) {
    SNAP_ASSIGN(const ClusterLink link, table.next(ahead));
    ahead = link.next;
  }
  uint32_t behind = first_;
  uint32_t before = 0;
  while (ahead != behind) {
    SNAP_ASSIGN(const ClusterLink next, table.next(ahead));
    SNAP_ASSIGN(const ClusterLink own, table.next(behind));
    ahead = next.next;
    behind = own.next;
    ++before;
  }
  return before + period;
}

void ClusterChain::add_mark(uint32_t cluster) {
  if (length_ % stride_ == 0) {
    if (marks_.size() == kMarks) {
      for (size_t i = 0; i < kMarks / 2; ++i) marks_[i] = marks_[2 * i];
      marks_.resize(kMarks / 2);
      stride_ *= 2;
    }
    if (length_ % stride_ == 0) marks_.push_back(cluster);
  }
  ++length_;
}

Result<uint32_t> ClusterChain::cluster_at(ClusterTable& table, uint32_t index) {
  const uint32_t mark = index / stride_;
  if (last_.index > index || last_.index < mark * stride_) last_ = {mark * stride_, marks_[mark]};
  while (last_.index < index) {
    SNAP_ASSIGN(const ClusterLink link, table.next(last_.cluster));
    last_ = {last_.index + 1, link.next};
  }
  return last_.cluster;
}

Result<ClusterChain::Run> ClusterChain::run_at(ClusterTable& table, uint32_t index, uint32_t most) {
  SNAP_CHECK(index < length_ && most > 0);
  most = std::min(most, length_ - index);
  if (is_contiguous()) return Run{first_ + index, most};
  SNAP_ASSIGN(const uint32_t cluster, cluster_at(table, index));
  Run run{cluster, 1};
  while (run.length < most) {
    SNAP_ASSIGN(const ClusterLink link, table.next(last_.cluster));
    if (link.next != cluster + run.length) break;
    last_ = {last_.index + 1, link.next};
    ++run.length;
  }
  return run;
}

}  // namespace snaptool
