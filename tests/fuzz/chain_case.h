// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/fuzz/diff_tools.h"

namespace snaptool::test {

// States of an image of about a MiB, and the diffs between them, as a fuzzer's bytes say.

// The bits that say how. Direct: diffs that are written record by record, else exported ones.
inline constexpr unsigned kDirect = 1;
inline constexpr unsigned kDamaged = 2;  // diffs are changed, or one is left out
inline constexpr unsigned kFull = 4;     // the first has no base (exported ones)
inline constexpr unsigned kIdentities = 8;
inline constexpr unsigned kIds = 16;
inline constexpr unsigned kThree = 32;  // diffs; else two

inline constexpr size_t kMostExtents = 100'000;  // of all direct diffs: more than a record may have

struct ChainCase {
  std::vector<Bytes> states;  // the one that each diff starts from, and the last
  std::vector<Diff> diffs;
};

// Often near the border of a window.
inline size_t take_size(FuzzInput& in) {
  switch (in.byte() % 4) {
    case 0:
      return in.number();
    case 1:
      return kMiB - 4 + in.byte() % 9;
    case 2:
      return size_t{in.number()} * 18;
    default:
      return kMiB;
  }
}

// Ranges of data, zeros and repeats, every other unit at times, and maybe another size.
inline void edit(Bytes& image, FuzzInput& in) {
  if (in.byte() % 3 == 0) image.resize(take_size(in));
  for (unsigned n = in.byte() % 8; n > 0 && !image.empty(); --n) {
    const unsigned how = in.byte();
    const size_t unit = std::array<size_t, 4>{1, 512, 4096, 65536}[how % 4];
    const size_t stride = how % 8 < 4 ? unit : 2 * unit;
    const unsigned value = in.byte();
    size_t count = 1 + in.number() % 2048;
    for (size_t at = in.number() * unit % image.size(); at < image.size() && count > 0; --count) {
      const size_t length = std::min(unit, image.size() - at);
      const auto from = image.begin() + static_cast<ptrdiff_t>(at);
      std::fill_n(from, length, static_cast<std::byte>(value == 0 ? 0 : value + count));
      at += stride;
    }
  }
}

// As many as there may be, at even distances, in a window of `limit` bytes.
inline std::vector<ChangeExtent> spread_extents(size_t limit, size_t& left, FuzzInput& in) {
  std::vector<ChangeExtent> extents;
  const unsigned kinds = in.byte();
  const uint32_t unit = 1U << in.byte() % 14;
  const uint32_t stride = 1 + in.byte() % 64;
  const uint32_t length = 1 + in.byte() % stride;
  const size_t most = std::min<size_t>(left, in.number() + 1);
  for (uint32_t at = in.number(); extents.size() < most && at + length * unit <= limit;
       at += stride * unit) {
    const unsigned kind = kinds < 3 ? kinds : static_cast<unsigned>(extents.size() % 3);
    extents.push_back({at, length * unit, static_cast<ChangeKind>(kind)});
  }
  left -= extents.size();
  return extents;
}

// The extents of a record: what was there, and what is there then.
inline ChangeRecord write_over(const Bytes& before, Bytes& after, uint64_t window, Bytes& data,
                               size_t& left, FuzzInput& in) {
  ChangeRecord record;
  record.window = window;
  const size_t start = record.start();
  record.extents = spread_extents(std::min(kWindowBytes, after.size() - start), left, in);
  const unsigned value = in.byte();
  Sha256 old;
  for (const ChangeExtent& extent : record.extents) {
    const auto from = after.begin() + static_cast<ptrdiff_t>(start + extent.offset);
    const bool is_data = extent.kind == ChangeKind::kData;
    old.update(std::span(before).subspan(start + extent.offset, extent.length));
    std::fill_n(from, extent.length, static_cast<std::byte>(is_data ? value + extent.offset : 0));
    if (is_data) data.insert(data.end(), from, from + extent.length);
  }
  record.data_length = static_cast<uint32_t>(data.size());
  if (in.byte() % 4 != 0) record.old_sum = old.finish_digest();
  return record;
}

// A diff that is written record by record; makes `state` what it leads to.
inline Diff direct_diff(Bytes& state, const ExportOptions& options, size_t& left, FuzzInput& in) {
  Diff diff;
  Bytes before = state;
  if (in.byte() % 3 == 0) state.resize(take_size(in));
  SnapdiffWriter writer(sink_into(diff.stream), 1);
  ChangeHeader header;
  header.base_size = before.size();
  header.target_size = state.size();
  header.parent_id = options.parent_id;
  require(writer.begin(header).has_value());
  before.resize(std::max(before.size(), state.size()));
  for (uint64_t window = 0; window * kWindowBytes < state.size(); ++window) {
    Bytes data;
    ChangeRecord record = write_over(before, state, window, data, left, in);
    if (record.extents.empty()) continue;
    writer.prepare(record, data);
    require(writer.add(record).has_value());
  }
  require(writer.finish(diff.end).has_value());
  return diff;
}

inline ChainCase make_chain_case(unsigned flags, FuzzInput& in) {
  ChainCase made;
  const bool direct = (flags & kDirect) != 0;
  const bool full = (flags & kFull) != 0 && !direct;
  Bytes state(full ? 0 : take_size(in));
  if (!full) edit(state, in);
  made.states.push_back(state);
  ExportOptions options;
  options.granularity = 512U << in.byte() % 8;
  options.identities = (flags & kIdentities) != 0;
  if ((flags & kIds) != 0 && !full) options.parent_id = Sha256::of(state);
  size_t left = kMostExtents;
  for (unsigned i = 0; i < ((flags & kThree) != 0 ? 3U : 2U); ++i) {
    if (direct) {
      made.diffs.push_back(direct_diff(state, options, left, in));
    } else {
      edit(state, in);
      const Bytes* const base = full && i == 0 ? nullptr : &made.states.back();
      made.diffs.push_back(exported_diff(base, state, options));
    }
    made.states.push_back(state);
    if ((flags & kIds) != 0) options.parent_id = made.diffs.back().end.child_id;
  }
  return made;
}

// Bytes of one diff, or their order, or one that is missing.
inline void damage(std::vector<Diff>& diffs, FuzzInput& in) {
  const unsigned how = in.byte();
  Bytes& stream = diffs[how % diffs.size()].stream;
  for (unsigned n = how / 4 % 16; n > 0; --n) {
    const size_t low = in.number();
    const size_t place = low | size_t{in.byte()} << 16U;
    stream[place % stream.size()] = static_cast<std::byte>(in.byte());
  }
  DiffSealer(stream).seal();
  if (how / 64 == 2) std::swap(diffs.front(), diffs.back());
  if (how / 64 == 3) diffs.erase(diffs.begin() + 1);
}

}  // namespace snaptool::test
