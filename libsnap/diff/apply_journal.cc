// SPDX-License-Identifier: Apache-2.0
#include "libsnap/diff/apply_journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "libsnap/base/bytes.h"
#include "libsnap/base/endian.h"

namespace snaptool {
namespace {

// Two slots, written in turn, each in sectors of its own: a torn write spoils only the new one.
constexpr uint64_t kSlotDistance = 4096;
constexpr size_t kSlotSize = 256;
constexpr size_t kSummed = kSlotSize - sizeof(Sha256::Digest);
static_assert(ApplyJournal::kFileSize == 2 * kSlotDistance);
constexpr std::string_view kMagic = "snapply2";

using Slot = std::array<std::byte, kSlotSize>;

}  // namespace

Result<ApplyJournal> ApplyJournal::create(File& file, const Identity& identity) {
  SNAP_TRY(file.resize(0));
  SNAP_TRY(file.resize(kFileSize));
  SNAP_TRY(file.reserve(0, kFileSize));
  return ApplyJournal(file, identity);
}

Result<std::optional<ApplyJournal>> ApplyJournal::open(File& file) {
  std::optional<ApplyJournal> found;
  if (file.size() == 0) return found;
  const Error other(ErrorCode::kCorruption,
                    fmt::format("'{}' is not the journal of an apply, or is damaged", file.name()));
  if (file.size() != kFileSize) return other;
  bool blank = true;
  for (uint64_t i = 0; i < 2; ++i) {
    Slot slot{};
    SNAP_TRY(file.read_at(i * kSlotDistance, slot));
    blank = blank && is_all_zero(slot);
    constexpr size_t kName = 7;  // what comes behind it is the version
    if (std::memcmp(slot.data(), kMagic.data(), kName) == 0 &&
        static_cast<char>(slot[kName]) != kMagic[kName]) {
      return Error(ErrorCode::kUnsupported,
                   fmt::format("'{}' is a journal of another version of snaptool's: finish the "
                               "apply with that",
                               file.name()));
    }
    const auto sum = Sha256::of(std::span(slot).first(kSummed));
    if (std::memcmp(slot.data(), kMagic.data(), kMagic.size()) != 0 ||
        !std::equal(sum.begin(), sum.end(), slot.begin() + kSummed)) {
      continue;
    }
    const auto sequence = load_le<uint64_t>(&slot[8]);
    if (found && found->sequence_ >= sequence) continue;
    Identity identity;
    std::copy_n(slot.begin() + 16, identity.chain.size(), identity.chain.begin());
    identity.base_size = load_le<uint64_t>(&slot[48]);
    identity.final_size = load_le<uint64_t>(&slot[56]);
    std::copy_n(slot.begin() + 80, identity.untouched.size(), identity.untouched.begin());
    identity.file = {load_le<uint64_t>(&slot[112]), load_le<uint64_t>(&slot[120])};
    identity.born = load_le<uint64_t>(&slot[128]);
    found = ApplyJournal(file, identity);
    found->progress_ = {load_le<uint64_t>(&slot[64]), load_le<uint64_t>(&slot[72])};
    found->sequence_ = sequence;
  }
  if (!found && !blank) return other;
  if (found && found->progress_.is_finished()) found.reset();
  return found;
}

Result<void> ApplyJournal::set(const ApplyProgress& progress) {
  Slot slot{};
  std::memcpy(slot.data(), kMagic.data(), kMagic.size());
  store_le(&slot[8], ++sequence_);
  std::copy(identity_.chain.begin(), identity_.chain.end(), slot.begin() + 16);
  store_le(&slot[48], identity_.base_size);
  store_le(&slot[56], identity_.final_size);
  store_le(&slot[64], progress.begin);
  store_le(&slot[72], progress.end);
  std::copy(identity_.untouched.begin(), identity_.untouched.end(), slot.begin() + 80);
  store_le(&slot[112], identity_.file.device);
  store_le(&slot[120], identity_.file.inode);
  store_le(&slot[128], identity_.born);
  const auto sum = Sha256::of(std::span(slot).first(kSummed));
  std::copy(sum.begin(), sum.end(), slot.begin() + kSummed);
  SNAP_TRY(file_->write_at((sequence_ % 2) * kSlotDistance, slot));
  SNAP_TRY(file_->flush());
  progress_ = progress;
  return {};
}

}  // namespace snaptool
