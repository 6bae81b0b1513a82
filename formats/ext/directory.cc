// SPDX-License-Identifier: Apache-2.0
#include "formats/ext/directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/endian.h"

namespace snaptool::ext {
namespace {

constexpr size_t kEntryHead = 8;  // bytes before the name
constexpr size_t kTailBytes = 12;
constexpr auto kTailType = std::byte{0xde};

struct RawEntry {
  uint32_t id = 0;
  size_t length = 0;  // bytes up to the next one
  size_t name_length = 0;
  uint8_t type = 0;

  size_t least_length() const { return (kEntryHead + name_length + 3) / 4 * 4; }
};

// Requires: kEntryHead bytes.
RawEntry raw_entry(Bytes bytes, size_t block_size) {
  RawEntry entry;
  entry.id = load_le<uint32_t>(bytes.data());
  entry.length = load_le<uint16_t>(bytes.data() + 4);
  // In blocks of 64 KiB, 65536 does not fit: the two lowest bits are those from 2^16 on.
  constexpr size_t kLarge = 65536;
  if (block_size >= kLarge) {
    const bool all = entry.length == 0 || entry.length == kLarge - 1;
    entry.length = all ? block_size : (entry.length & 0xfffcU) | (entry.length & 3U) << 16U;
  }
  entry.name_length = std::to_integer<size_t>(bytes[6]);
  entry.type = std::to_integer<uint8_t>(bytes[7]);
  return entry;
}

access::NodeType node_type(uint8_t type) {
  constexpr std::array kTypes = {access::NodeType::kOther,       access::NodeType::kFile,
                                 access::NodeType::kFolder,      access::NodeType::kCharacterDevice,
                                 access::NodeType::kBlockDevice, access::NodeType::kFifo,
                                 access::NodeType::kSocket,      access::NodeType::kLink};
  return type < kTypes.size() ? kTypes[type] : access::NodeType::kOther;
}

std::string_view name_of(Bytes bytes, const RawEntry& entry) {
  return {reinterpret_cast<const char*>(bytes.data() + kEntryHead), entry.name_length};
}

FolderEntry entry_of(Bytes bytes, const RawEntry& raw, const FolderRules& rules, bool deleted) {
  FolderEntry entry;
  entry.id = raw.id;
  if (rules.has_types) entry.type = node_type(raw.type);
  entry.name = name_of(bytes, raw);
  entry.deleted = deleted;
  return entry;
}

bool is_dots(std::string_view name) { return name == "." || name == ".."; }

bool is_sound_name(std::string_view name, const FolderRules& rules) {
  if (rules.is_encrypted) return true;
  return name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

// Names that were once where now nothing is. They are found by what looks like an entry.
Result<void> visit_slack(Bytes slack, size_t block_size, const FolderRules& rules,
                         const VisitEntry& visit) {
  while (slack.size() > kEntryHead) {
    const RawEntry raw = raw_entry(slack, block_size);
    const size_t needs = raw.least_length();
    const bool plausible = raw.id > 0 && raw.id <= rules.inodes && raw.name_length > 0 &&
                           raw.type < 8 && raw.length % 4 == 0 && raw.length >= needs &&
                           needs <= slack.size() && is_sound_name(name_of(slack, raw), rules);
    if (!plausible) {
      slack = slack.subspan(4);
      continue;
    }
    if (!is_dots(name_of(slack, raw))) SNAP_TRY(visit(entry_of(slack, raw, rules, true)));
    slack = slack.subspan(needs);
  }
  return {};
}

std::optional<Error> check_entry(const RawEntry& raw, Bytes rest, const FolderRules& rules) {
  const bool fits = raw.length % 4 == 0 && raw.length <= rest.size() &&
                    raw.length >= std::max(raw.least_length(), kEntryHead);
  if (!fits) {
    return damaged(fmt::format("folder {} has an entry of {} bytes where {} are left", rules.id,
                               raw.length, rest.size()));
  }
  if (raw.id == 0) return std::nullopt;
  if (raw.id > rules.inodes) {
    return damaged(
        fmt::format("folder {} has an entry for inode {} of {}", rules.id, raw.id, rules.inodes));
  }
  if (raw.name_length == 0 || !is_sound_name(name_of(rest, raw), rules)) {
    return damaged(fmt::format("folder {} has an entry with an impossible name", rules.id));
  }
  return std::nullopt;
}

Result<void> visit_entry(Bytes bytes, const RawEntry& raw, size_t block_size,
                         const FolderRules& rules, const VisitEntry& visit) {
  const std::string_view name = name_of(bytes, raw);
  const bool dots = is_dots(name);
  if (raw.id != 0 && !dots) SNAP_TRY(visit(entry_of(bytes, raw, rules, false)));
  if (!rules.wants_deleted) return {};
  if (raw.id == 0 && raw.name_length > 0 && !dots && is_sound_name(name, rules)) {
    SNAP_TRY(visit(entry_of(bytes, raw, rules, true)));
  }
  // What an index keeps there are no names.
  const bool is_index = rules.is_indexed && (name == ".." || raw.length == block_size);
  if (is_index) return {};
  return visit_slack(bytes.first(raw.length).subspan(std::min(raw.length, raw.least_length())),
                     block_size, rules, visit);
}

bool is_tail(Bytes tail) {
  return load_le<uint32_t>(tail.data()) == 0 && load_le<uint16_t>(tail.data() + 4) == kTailBytes &&
         tail[6] == std::byte{0} && tail[7] == kTailType;
}

}  // namespace

Result<void> visit_block_entries(Bytes block, const FolderRules& rules, Damage& damage,
                                 const VisitEntry& visit) {
  const size_t block_size = block.size();
  while (block.size() >= kEntryHead) {
    const RawEntry raw = raw_entry(block, block_size);
    if (auto error = check_entry(raw, block, rules)) {
      damage.add(std::move(*error));
      const bool goes_on = raw.length % 4 == 0 && raw.length >= kEntryHead &&
                           raw.length <= block.size() && raw.least_length() <= raw.length;
      if (!goes_on) return {};
    } else if (!(block.size() == kTailBytes && is_tail(block))) {
      SNAP_TRY(visit_entry(block, raw, block_size, rules, visit));
    }
    block = block.subspan(raw.length);
  }
  if (!block.empty()) {
    damage.add(fmt::format("the entries of folder {} end in mid-entry", rules.id));
  }
  return {};
}

bool is_folder_sum(Bytes block, bool is_first, const Inode& inode, const Superblock& superblock) {
  if (!superblock.has_sums()) return true;
  if ((inode.flags & kFlagIndexed) != 0) {
    const RawEntry raw = raw_entry(block, block.size());
    if (is_first || (raw.id == 0 && raw.length == block.size() && raw.name_length == 0)) {
      return true;
    }
  }
  const Bytes tail = block.last(kTailBytes);
  return is_tail(tail) && sum_of(block.first(block.size() - kTailBytes), inode.sum_seed) ==
                              load_le<uint32_t>(tail.data() + 8);
}

}  // namespace snaptool::ext
