// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/rock_ridge.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/common/file_facts.h"
#include "libsnap/base/endian.h"
#include "libsnap/base/printable.h"

namespace snaptool::iso9660 {
namespace {

constexpr size_t kEntryHead = 4;  // its kind, its bytes, its version
constexpr size_t kMostTarget = 64 * 1024;
constexpr uint8_t kMoreFollows = 0x01;  // of names, targets and their components

uint8_t number_at(Bytes entry, size_t at) { return std::to_integer<uint8_t>(entry[at]); }

std::string_view text_from(Bytes entry, size_t from) {
  return {reinterpret_cast<const char*>(entry.data() + from), entry.size() - from};
}

Error too_short(std::string_view kind) {
  return damaged(fmt::format("an entry {} of Rock Ridge is too short", printable(kind)));
}

bool begins_shared(Bytes area) {
  return area.size() >= 7 && text_from(area, 0).starts_with("SP") && number_at(area, 2) >= 7 &&
         number_at(area, 4) == 0xbe && number_at(area, 5) == 0xef;
}

// What is known under these kinds is not in the sum.
bool is_frame(std::string_view kind) {
  constexpr std::array<std::string_view, 9> kFrames = {"SP", "PD", "ST", "ER", "ES",
                                                       "RR", "PL", "CE", "SF"};
  return std::find(kFrames.begin(), kFrames.end(), kind) != kFrames.end();
}

}  // namespace

Result<std::optional<Continuation>> RockRidge::add(Bytes area) {
  std::optional<Continuation> next;
  while (area.size() >= kEntryHead) {
    const std::string_view kind = text_from(area, 0).substr(0, 2);
    const size_t length = number_at(area, 2);
    if (kind == std::string_view("\0\0", 2)) break;  // padding
    if (length < kEntryHead || length > area.size()) {
      return damaged(
          fmt::format("an entry {} of the system use area has {} bytes where {} are left",
                      printable(kind), length, area.size()));
    }
    const Bytes entry = area.first(length);
    if (kind == "ST") break;
    if (kind == "CE") {
      if (length < 28) return too_short(kind);
      next =
          Continuation{both32(&entry[4]).value, both32(&entry[12]).value, both32(&entry[20]).value};
    } else {
      SNAP_TRY(add_entry(kind, entry));
    }
    area = area.subspan(length);
  }
  return next;
}

Result<void> RockRidge::add_entry(std::string_view kind, Bytes entry) {
  if (kind == "PX") return add_owner(entry);
  if (kind == "NM") return add_name(entry);
  if (kind == "TF") return add_times(entry);
  if (kind == "SL") return add_target(entry);
  if (kind == "ZF") return add_zisofs(entry);
  if (kind == "CL") {
    if (entry.size() < 12) return too_short(kind);
    child_ = both32(&entry[4]).value;
  } else if (kind == "RE") {
    is_relocated_ = true;
  } else if (kind == "SF") {
    if (entry.size() < 12) return too_short(kind);
    // Version 1.10 has the low half only.
    sparse_size_ = both32(&entry[4]).value;
    if (entry.size() >= 21) {
      sparse_size_ = uint64_t{both32(&entry[4]).value} << 32U | both32(&entry[12]).value;
    }
  } else if (!is_frame(kind)) {
    add_sum(entry);
  }
  if (kind == "RR" || kind == "CL" || kind == "PN") found_ = true;
  if (kind == "ER") {
    const std::string_view text = text_from(entry, std::min<size_t>(entry.size(), 8));
    found_ = found_ || text.starts_with("RRIP_1991A") || text.starts_with("IEEE_P1282") ||
             text.starts_with("IEEE_1282");
  }
  return {};
}

Result<void> RockRidge::add_owner(Bytes entry) {
  if (entry.size() < 36) return too_short("PX");
  found_ = true;
  owner_ = Owner{both32(&entry[4]).value, both32(&entry[12]).value, both32(&entry[20]).value,
                 both32(&entry[28]).value};
  return {};
}

Result<void> RockRidge::add_name(Bytes entry) {
  if (entry.size() < 5) return too_short("NM");
  const uint8_t flags = number_at(entry, 4);
  if ((flags & ~kMoreFollows) != 0) {
    // Of the folder itself and its parent; or of this machine.
    if ((flags & 6U) != 0) return {};
    return damaged(fmt::format("a name of Rock Ridge has the flags {:#x}", flags));
  }
  if (name_ && !name_goes_on_) return damaged("a file has two names of Rock Ridge");
  const std::string_view text = text_from(entry, 5);
  if (!name_) name_.emplace();
  if (name_->size() + text.size() > kMostTarget) return damaged("a name has more than 64 KiB");
  *name_ += text;
  name_goes_on_ = (flags & kMoreFollows) != 0;
  return {};
}

Result<void> RockRidge::add_times(Bytes entry) {
  if (entry.size() < 5) return too_short("TF");
  const uint8_t flags = number_at(entry, 4);
  const bool is_long = (flags & 0x80U) != 0;
  const size_t bytes = is_long ? 17 : 7;
  Bytes rest = entry.subspan(5);
  for (unsigned kind = 0; kind < 7; ++kind) {  // the last three: backup, expiration, effective
    if ((flags >> kind & 1U) == 0) continue;
    if (rest.size() < bytes) return too_short("TF");
    if (kind < times_.size()) times_[kind] = is_long ? long_time(rest) : short_time(rest);
    rest = rest.subspan(bytes);
  }
  return {};
}

Result<void> RockRidge::add_target(Bytes entry) {
  if (entry.size() < 5) return too_short("SL");
  if (target_ && !target_goes_on_) return damaged("a link has two targets");
  if (!target_) target_.emplace();
  target_goes_on_ = (number_at(entry, 4) & kMoreFollows) != 0;
  Bytes rest = entry.subspan(5);
  while (rest.size() >= 2) {
    const uint8_t flags = number_at(rest, 0);
    const size_t length = number_at(rest, 1);
    if (length > rest.size() - 2) return too_short("SL");
    SNAP_TRY(add_component(flags, text_from(rest.first(2 + length), 2)));
    rest = rest.subspan(2 + length);
  }
  return {};
}

Result<void> RockRidge::add_component(uint8_t flags, std::string_view text) {
  if (target_->size() + text.size() + 3 > kMostTarget) {
    return damaged("the target of a link has more than 64 KiB");
  }
  if (!component_goes_on_ && target_needs_slash_) *target_ += '/';
  target_needs_slash_ = true;
  component_goes_on_ = (flags & kMoreFollows) != 0;
  switch (flags & ~kMoreFollows) {
    case 0:
      *target_ += text;
      break;
    case 2:
      *target_ += '.';
      break;
    case 4:
      *target_ += "..";
      break;
    case 8:
      *target_ += '/';
      target_needs_slash_ = false;
      break;
    default:
      has_odd_target_ = true;
  }
  return {};
}

Result<void> RockRidge::add_zisofs(Bytes entry) {
  if (entry.size() < 16) return too_short("ZF");
  if (text_from(entry, 4).substr(0, 2) != "pz") {
    has_unknown_packing_ = true;
    return {};
  }
  zisofs_ = Zisofs{static_cast<uint8_t>(std::min(number_at(entry, 6) * 4, 255)),
                   number_at(entry, 7), both32(&entry[8]).value};
  return {};
}

void RockRidge::add_sum(Bytes entry) { sum_ = bytes_sum(entry, sum_); }

Result<void> RockRidge::finish() {
  if (name_goes_on_) return damaged("a name of Rock Ridge ends early");
  if (target_goes_on_ || component_goes_on_) return damaged("the target of a link ends early");
  return {};
}

std::optional<size_t> shared_area_at(Bytes root_area, SharingRules& rules) {
  // Behind what CD-ROM XA keeps there.
  for (const size_t at : {size_t{0}, size_t{14}}) {
    if (root_area.size() < at || !begins_shared(root_area.subspan(at))) continue;
    rules.skipped = number_at(root_area, at + 6);
    return at;
  }
  // Before SUSP said that there must be one.
  if (root_area.size() >= 5 && text_from(root_area, 0).starts_with("RR\x05")) return 0;
  return std::nullopt;
}

}  // namespace snaptool::iso9660
