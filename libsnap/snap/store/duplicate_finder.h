// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "libsnap/base/units.h"

namespace snaptool {

// Finds numbers that occur twice in a sequence too long to keep, in bounded memory, by feeding it
// the same sequence as often as it asks. Small numbers cost one bit each and one pass; what the
// bits do not reach is taken in further passes, by whichever is fewer: windows of bits, or shares
// of a hash set.
class DuplicateFinder {
 public:
  // Requires: budget >= 4096. `budget`: bytes of memory at most. `seed` makes the shares
  // unpredictable.
  DuplicateFinder(size_t budget, uint64_t seed);
  // A budget (bytes) that suits a store of so many bytes: a small store needs no large window. With
  // the most, there are bits for 800 GiB of 4 KiB chunks in one pass.
  static size_t budget_for(uint64_t cow_bytes) {
    return std::clamp<uint64_t>(cow_bytes / 4096 * 4096, 64 * kKiB, 24 * kMiB);
  }

  // Feeds the next number; true when it was fed before (in a pass that tells: each repetition is
  // told in exactly one pass).
  bool add(uint64_t value) {
    if (value == UINT64_MAX) return add_largest();
    if (hash_shares_ == 0) {
      if (value - window_start_ < window_size_) return test_and_set(value - window_start_);
      note_outside(value);
      return false;
    }
    return add_hashed(value);
  }
  // A hint that the number will be fed soon: numbers in no order find their bits in no cache.
  void expect(uint64_t value) const {
    if (hash_shares_ == 0 && value - window_start_ < window_size_) {
      __builtin_prefetch(&bits_.get()[(value - window_start_) / 64], 1);
    }
  }
  // Ends a pass. True: feed the whole sequence once more.
  bool needs_another_pass();

 private:
  bool test_and_set(uint64_t bit) {
    uint64_t& word = bits_.get()[bit / 64];
    const uint64_t mask = uint64_t{1} << (bit % 64);
    const bool seen = (word & mask) != 0;
    word |= mask;
    return seen;
  }
  // Fresh zeros for a window: pages that no bit falls into are never touched.
  void clear_window();
  void note_outside(uint64_t value);
  // The one number that has no place in a slot; told in the first pass.
  bool add_largest() {
    if (!first_pass_) return false;
    const bool seen = largest_seen_;
    largest_seen_ = true;
    return seen;
  }
  bool add_hashed(uint64_t value);
  uint64_t mix(uint64_t value) const;

  size_t budget_;
  uint64_t seed_;
  bool first_pass_ = true;
  bool largest_seen_ = false;
  // Bits for [window_start_, window_start_ + window_size_).
  uint64_t window_start_ = 0;
  uint64_t window_size_;
  struct Free {
    void operator()(uint64_t* words) const { std::free(words); }
  };
  std::unique_ptr<uint64_t, Free> bits_;
  uint64_t outside_ = 0;  // numbers above the window in this pass
  uint64_t outside_max_ = 0;
  // Hash mode, when hash_shares_ > 0: numbers >= window_start_ whose share it is.
  uint64_t hash_shares_ = 0;
  uint64_t hash_share_ = 0;
  uint64_t hash_used_ = 0;
  bool hash_overflowed_ = false;
  std::vector<uint64_t> slots_;  // value + 1; 0 is free
};

}  // namespace snaptool
