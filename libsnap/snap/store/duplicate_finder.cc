// SPDX-License-Identifier: Apache-2.0
#include "libsnap/snap/store/duplicate_finder.h"

#include <algorithm>
#include <bit>
#include <new>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/check.h"

namespace snaptool {

DuplicateFinder::DuplicateFinder(size_t budget, uint64_t seed)
    : budget_(budget), seed_(seed), window_size_(uint64_t{budget} * 8) {
  SNAP_CHECK(budget >= 4096);
  clear_window();
}

void DuplicateFinder::clear_window() {
  bits_.reset();
  bits_.reset(static_cast<uint64_t*>(std::calloc(window_size_ / 64, sizeof(uint64_t))));
  if (bits_ == nullptr) throw std::bad_alloc();
}

void DuplicateFinder::note_outside(uint64_t value) {
  if (value < window_start_) return;  // an earlier pass took it
  ++outside_;
  outside_max_ = std::max(outside_max_, value);
}

uint64_t DuplicateFinder::mix(uint64_t value) const {
  uint64_t x = value + seed_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

bool DuplicateFinder::add_hashed(uint64_t value) {
  if (value < window_start_) return false;
  const uint64_t hash = mix(value);
  if (hash % hash_shares_ != hash_share_) return false;
  const uint64_t mask = slots_.size() - 1;
  // The low bits chose the share: the slot comes from the high ones.
  for (uint64_t slot = (hash >> 24) & mask;; slot = (slot + 1) & mask) {
    if (slots_[slot] == value + 1) return true;
    if (slots_[slot] != 0) continue;
    if (hash_used_ >= slots_.size() / 8 * 7) {
      hash_overflowed_ = true;  // cannot happen with a fair hash; the checks below make it loud
      return false;
    }
    ++hash_used_;
    slots_[slot] = value + 1;
    return false;
  }
}

bool DuplicateFinder::needs_another_pass() {
  first_pass_ = false;
  if (hash_shares_ > 0) {
    SNAP_CHECK(!hash_overflowed_);
    ++hash_share_;
    hash_used_ = 0;
    std::fill(slots_.begin(), slots_.end(), 0);
    return hash_share_ < hash_shares_;
  }
  if (outside_ == 0) return false;
  window_start_ += window_size_;
  const uint64_t windows = div_round_up(outside_max_ - window_start_ + 1, window_size_);
  const uint64_t slots = std::bit_floor(budget_ / sizeof(uint64_t));
  const uint64_t shares = div_round_up(outside_, slots / 2);
  if (shares < windows) {
    bits_.reset();
    hash_shares_ = shares;
    slots_.assign(slots, 0);
  } else {
    clear_window();
  }
  outside_ = 0;
  outside_max_ = 0;
  return true;
}

}  // namespace snaptool
