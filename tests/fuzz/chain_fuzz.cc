// SPDX-License-Identifier: Apache-2.0
// The bytes drive a few states of an image and the snapdiffs between them: what is made one diff of
// them does what they do one after the other, and the inverse of one takes it back. With diffs that
// were changed, sums made to fit, nothing crashes; where both ways succeed, they lead to the same.
#include <cstdint>

#include "libsnap/diff/apply.h"
#include "libsnap/diff/compose.h"
#include "libsnap/diff/content_hash.h"
#include "tests/fuzz/chain_case.h"
#include "tests/fuzz/diff_tools.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/model.h"

namespace snaptool::test {
namespace {

constexpr uint64_t kMostTarget = 8 * kMiB;   // a larger image is only checked, not made
constexpr uint64_t kMostZeroed = 64 * kMiB;  // of windows that no diff says anything of

using Diffs = std::vector<const Diff*>;

// What diffs make of an image; nothing where they are refused, or it is too large to be made.
std::optional<Bytes> applied(const Diffs& diffs, const Bytes& base) {
  auto chain = open_chain(diffs, base.size());
  if (!chain) return std::nullopt;
  Apply apply(std::move(*chain));
  const bool full = apply.shape().full;
  ImageInMemory made(full ? Bytes() : base);
  const auto checked = apply.check(full ? nullptr : &made.image, Apply::BaseSize::kExact, true,
                                   std::nullopt, made.job);
  if (!checked || apply.shape().final_size() > kMostTarget) return std::nullopt;
  if (full) require(made.file.resize(apply.shape().final_size()).has_value());
  require(apply.write({&made.file, true, full}, *checked, nullptr, made.job).has_value());
  require(made.file.size() == apply.shape().final_size());
  return content_of(made.file);
}

Result<Diff> compose(const Diffs& diffs, const Bytes& base) {
  Diff one;
  Progress progress;
  const Cancel cancel;
  SNAP_ASSIGN(Chain chain, open_chain(diffs, base.size()));
  SnapdiffWriter writer(sink_into(one.stream), 1);
  SNAP_ASSIGN(one.end,
              compose_changes(chain, writer, "fuzz", Job{progress, cancel, 1}, kMostZeroed));
  return one;
}

Result<Diff> invert(const Diff& diff, const Bytes& base) {
  Diff back;
  ImageInMemory memory(base);
  SNAP_ASSIGN(Chain chain, open_chain({&diff}, base.size()));
  SnapdiffWriter writer(sink_into(back.stream), 1);
  SNAP_ASSIGN(back.end, invert_changes(chain, memory.image, diff.end.child_id, writer, "fuzz",
                                       memory.job));
  return back;
}

// What a stream says at its start.
std::optional<ChangeHeader> header_of(const Diff& diff) {
  auto reader = link_of(diff.stream).open();
  return reader ? std::optional((*reader)->header()) : std::nullopt;
}

// What the library wrote can be read, and says what the writer was told.
void check_stream(const Diff& diff) {
  const auto reader = link_of(diff.stream).open();
  require(reader.has_value());
  ChangeRecord record;
  auto more = (*reader)->next(record);
  while (more && *more) more = (*reader)->next(record);
  require(more.has_value());
  const ChangeEnd& end = (*reader)->end();
  require(end.length == diff.stream.size() && end.totals == diff.end.totals);
  require(end.child_id == diff.end.child_id && end.base_content == diff.end.base_content &&
          end.target_content == diff.end.target_content);
}

// Ids, and identities where the diffs have them, are those of the states.
void check_sums(const Diff& one, const ChainCase& made) {
  require(one.end.child_id == made.diffs.back().end.child_id);
  require(header_of(one)->parent_id == header_of(made.diffs.front())->parent_id);
  if (!one.end.target_content) return;
  ImageInMemory last(made.states.back());
  require(*content_id_of(last.image, last.job) == *one.end.target_content);
  if (!one.end.base_content) return;
  ImageInMemory first(made.states.front());
  require(*content_id_of(first.image, first.job) == *one.end.base_content);
}

// One diff of all. A sound chain is refused only for more changes than a record may have.
void try_composed(const ChainCase& made, bool sound, bool dense) {
  const Bytes& base = made.states.front();
  std::optional<Bytes> one_by_one = base;
  Diffs all;
  for (size_t i = 0; i < made.diffs.size(); ++i) {
    all.push_back(&made.diffs[i]);
    if (one_by_one) one_by_one = applied({all.back()}, *one_by_one);
    require(!sound || (one_by_one && *one_by_one == made.states[i + 1]));
  }
  const auto one = compose(all, base);
  if (!one) {
    require(!sound || (dense && one.error().code() == ErrorCode::kUnsupported));
    return;
  }
  check_stream(*one);
  if (sound) check_sums(*one, made);
  const auto at_once = applied({&*one}, base);
  require(!sound || at_once);
  // Of another base, some of it may look as if it had the changes already.
  const auto header = header_of(made.diffs.front());
  if (!header->full && header->base_size != base.size()) return;
  if (at_once && one_by_one) require(*at_once == *one_by_one);
}

void try_inverse(const ChainCase& made, size_t which, bool sound) {
  const Diff& diff = made.diffs[which];
  const Bytes& before = made.states[which];
  const auto back = invert(diff, before);
  if (!back) {
    require(!sound || back.error().code() == ErrorCode::kInvalidArgument);  // of a full one
    return;
  }
  check_stream(*back);
  const auto there = applied({&diff}, before);
  require(!sound || there);
  if (!there) return;
  const auto again = applied({&*back}, *there);
  require(again && *again == before);
  if (!sound) return;
  const auto parent = header_of(diff)->parent_id;
  require(!parent || back->end.child_id == parent);
  require(header_of(*back)->parent_id == diff.end.child_id);
  if (diff.stream.size() > 256 * kKiB) return;  // it takes its time
  const auto nothing = applied({&diff, &*back}, before);
  require(nothing && *nothing == before);
}

}  // namespace
}  // namespace snaptool::test

SNAPTOOL_FUZZ_TARGET(chain)(const uint8_t* data, size_t size) {
  using namespace snaptool::test;
  if (size < 2 || size > 4096) return 0;
  // Byte 0: bits, see kDirect and those beside it. Byte 1: the diff that is turned round. Then what
  // the states are, and, for kDamaged, what is changed.
  FuzzInput in(data + 2, size - 2);
  ChainCase made = make_chain_case(data[0], in);
  const bool sound = (data[0] & kDamaged) == 0;
  if (!sound) damage(made.diffs, in);
  try_composed(made, sound, (data[0] & kDirect) != 0);
  try_inverse(made, data[1] % made.diffs.size(), sound);
  return 0;
}
