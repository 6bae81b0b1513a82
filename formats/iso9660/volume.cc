// SPDX-License-Identifier: Apache-2.0
#include "formats/iso9660/volume.h"

#include <fmt/format.h>

#include <algorithm>

#include "libsnap/base/arithmetic.h"
#include "libsnap/base/endian.h"

namespace snaptool::iso9660 {
namespace {

constexpr uint64_t kMostDescriptors = 100;  // as Linux has it
// What continues records: so much of all is read, and so many times what the image has, since many
// records could have the same areas, and all of these.
constexpr uint64_t kMostContinued = 4 * kMiB;
constexpr uint64_t kContinuedTimes = 8;
constexpr unsigned kMostAreas = 1024;
// Less than that behind a file system is padding.
constexpr uint64_t kOddTail = kMiB;

}  // namespace

Result<void> Volume::open() {
  SNAP_TRY(read_descriptors());
  SNAP_TRY(choose());
  settle_size();
  settle_metadata();
  SNAP_TRY(warn_of_partitions());
  warn_of_other_trees();
  for (const Descriptor& one : descriptors_) {
    if (one.orders_differ) warn_of_orders(one.at);
  }
  return {};
}

Result<void> Volume::read_descriptors() {
  std::array<std::byte, kSectorBytes> bytes{};
  for (uint64_t i = 0; i < kMostDescriptors; ++i) {
    const uint64_t at = (kFirstDescriptor + i) * kSectorBytes;
    SNAP_TRY(pages_.poll());
    if (at + kSectorBytes > pages_.size()) break;
    SNAP_TRY(pages_.read(at, bytes));
    if (!has_identifier(bytes, "CD001")) break;
    head_bytes_ = at + kSectorBytes;
    if (static_cast<DescriptorType>(bytes[0]) == DescriptorType::kTerminator) {
      SNAP_TRY(check_descriptors());
      return look_for_udf(head_bytes_);
    }
    note_descriptor(bytes, at);
  }
  SNAP_TRY(check_descriptors());
  warnings_.emplace_back("the list of its descriptors has no end");
  return {};
}

Result<void> Volume::check_descriptors() const {
  if (!descriptors_.empty()) return {};
  if (descriptor_error_) return Error(*descriptor_error_);
  return damaged("it has no descriptor of a volume");
}

void Volume::note_descriptor(Bytes bytes, uint64_t at) {
  const auto type = static_cast<DescriptorType>(bytes[0]);
  const std::string_view system(reinterpret_cast<const char*>(bytes.data() + 7), 32);
  if (type == DescriptorType::kBoot && system.starts_with("EL TORITO SPECIFICATION")) {
    boot_catalog_ = load_le<uint32_t>(&bytes[71]);
  }
  const bool is_primary = type == DescriptorType::kPrimary;
  if (!is_primary && type != DescriptorType::kSupplementary) return;
  // Copies of the primary one are allowed.
  if (is_primary && has_primary()) return;
  auto parsed = parse_descriptor(bytes, at);
  if (!parsed) {
    warnings_.push_back(
        fmt::format("the descriptor at byte {} cannot be read: {}", at, parsed.error().describe()));
    if (!descriptor_error_) descriptor_error_ = std::move(parsed).error();
    return;
  }
  descriptors_.insert(is_primary ? descriptors_.begin() : descriptors_.end(), std::move(*parsed));
}

bool Volume::has_primary() const {
  return !descriptors_.empty() && descriptors_.front().is_primary;
}

// From there on.
Result<void> Volume::look_for_udf(uint64_t at) {
  std::array<std::byte, kSectorBytes> bytes{};
  for (uint64_t i = 0; i < 16; ++i, at += kSectorBytes) {
    if (at + kSectorBytes > pages_.size()) return {};
    SNAP_TRY(pages_.read(at, bytes));
    if (has_identifier(bytes, "NSR02") || has_identifier(bytes, "NSR03")) {
      warnings_.emplace_back("it holds a UDF file system, too, which is not read");
      head_bytes_ = at + kSectorBytes;
      return {};
    }
    const bool goes_on = has_identifier(bytes, "BEA01") || has_identifier(bytes, "BOOT2") ||
                         has_identifier(bytes, "CD001");
    if (!goes_on) return {};
  }
  return {};
}

Result<Record> Volume::root_of(const Descriptor& descriptor) {
  const uint64_t at =
      (uint64_t{descriptor.root.block} + descriptor.root.attribute_blocks) * descriptor.block_bytes;
  std::array<std::byte, kMostRecordBytes> bytes{};
  if (at >= pages_.size()) return damaged("the image ends before its root folder");
  const auto there = std::span(bytes).first(std::min<uint64_t>(bytes.size(), pages_.size() - at));
  SNAP_TRY(pages_.read(at, there));
  return parse_record(there, at);
}

Result<bool> Volume::has_rock_ridge() {
  const auto root = root_of(descriptors_.front());
  if (!root) {
    // Whoever lists the root is told.
    if (root.error().code() == ErrorCode::kCorruption) return false;
    return root.error();
  }
  if (!root->is_self() || !shared_area_at(root->system_use(), rules_)) return false;
  rules_.has_rock_ridge = true;  // for now, so that it is read
  RockRidge rock;
  const auto done = read_rock_ridge(*root, true, rock);
  if (done) return rock.found();
  if (done.error().code() != ErrorCode::kCorruption) return done.error();
  warnings_.push_back(
      fmt::format("what its root has of Rock Ridge is damaged: {}", done.error().describe()));
  return true;
}

// Nothing in the root but itself and its parent. One that cannot be read is not empty.
Result<bool> Volume::is_empty(const Descriptor& descriptor) {
  std::array<std::byte, 2 * kMostRecordBytes + 1> bytes{};
  const auto root = root_of(descriptor);
  if (!root || !root->is_self() || descriptor.root.size > kSectorBytes) return false;
  if (root->at + bytes.size() > pages_.size()) return false;
  SNAP_TRY(pages_.read(root->at, bytes));
  const auto parent = parse_record(Bytes(bytes).subspan(root->length), root->at + root->length);
  return parent && parent->is_parent() &&
         bytes[size_t{root->length} + parent->length] == std::byte{0};
}

// As Linux does: Rock Ridge, else Joliet, else plain names.
Result<void> Volume::choose() {
  const auto joliet = std::find_if(descriptors_.begin(), descriptors_.end(),
                                   [](const Descriptor& one) { return one.is_joliet; });
  if (has_primary()) {
    SNAP_ASSIGN(rules_.has_rock_ridge, has_rock_ridge());
  }
  if (joliet == descriptors_.end()) return {};
  bool takes_joliet = !rules_.has_rock_ridge;
  if (!takes_joliet) {
    SNAP_ASSIGN(const bool empty, is_empty(descriptors_.front()));
    SNAP_ASSIGN(const bool joliet_is_empty, is_empty(*joliet));
    takes_joliet = empty && !joliet_is_empty;
  }
  if (!takes_joliet) return {};
  chosen_ = static_cast<size_t>(joliet - descriptors_.begin());
  rules_ = {};
  return {};
}

void Volume::settle_size() {
  size_ = uint64_t{descriptor().blocks} * block_bytes();
  const Record& root = descriptor().root;
  const uint64_t root_end =
      (uint64_t{root.block} + root.attribute_blocks) * block_bytes() + root.size;
  if (size_ < root_end && root_end <= pages_.size()) {
    warnings_.push_back(
        fmt::format("it says that it has {} bytes, but its root ends at {}", size_, root_end));
    size_ = pages_.size();
  }
  if (size_ > pages_.size()) {
    warnings_.push_back(
        fmt::format("the image ends {} bytes before its file system", size_ - pages_.size()));
  } else if (pages_.size() - size_ >= kOddTail) {
    warnings_.push_back(
        fmt::format("the image continues for {} bytes after it: later sessions of a disc, if that "
                    "is what is there, are not shown",
                    pages_.size() - size_));
  }
}

// A disk with a table of partitions may have been a disc once; a hybrid has other things in them.
Result<void> Volume::warn_of_partitions() {
  std::array<std::byte, 1024> head{};
  SNAP_TRY(pages_.read(0, head));
  const auto starts_with = [&](size_t at, std::string_view text) {
    return std::string_view(reinterpret_cast<const char*>(&head[at]), text.size()) == text;
  };
  // GPT's, Apple's, and those of the MBR.
  bool is_divided = starts_with(512, "EFI PART") || starts_with(512, "PM");
  for (size_t i = 0; i < 4 && load_le<uint16_t>(&head[510]) == 0xaa55; ++i) {
    const std::byte* const entry = &head[446 + 16 * i];
    is_divided = is_divided || (entry[4] != std::byte{0} && load_le<uint32_t>(entry + 12) != 0);
  }
  if (is_divided) {
    warnings_.emplace_back("it has a table of partitions, too: what else is in these is not shown");
  }
  return {};
}

void Volume::warn_of_other_trees() {
  for (const Descriptor& one : descriptors_) {
    if (one.is_joliet || one.root.block == descriptors_.front().root.block) continue;
    warnings_.push_back(
        fmt::format("the tree of the supplementary descriptor in sector {} is not read",
                    one.at / kSectorBytes));
  }
}

void Volume::warn_of_orders(uint64_t at) {
  if (warned_of_orders_) return;
  warned_of_orders_ = true;
  warnings_.push_back(fmt::format(
      "numbers differ between their two byte orders (byte {}): the little-endian ones are taken",
      at));
}

void Volume::settle_metadata() {
  std::vector<std::pair<uint64_t, uint64_t>> all = {{0, head_bytes_}};
  const auto add = [&](uint64_t block, uint64_t length, uint64_t unit) {
    if (block != 0) all.emplace_back(block * unit, (block + div_round_up(length, unit)) * unit);
  };
  for (const Descriptor& one : descriptors_) {
    for (const uint32_t table : one.path_tables) add(table, one.path_table_bytes, one.block_bytes);
  }
  add(boot_catalog_.value_or(0), kSectorBytes, kSectorBytes);
  std::sort(all.begin(), all.end());
  for (const auto& [from, to] : all) {
    if (from >= size_) break;
    if (metadata_.empty() || metadata_.back().second < from) metadata_.emplace_back(from, from);
    metadata_.back().second = std::max(metadata_.back().second, std::min(to, size_));
  }
}

std::pair<bool, uint64_t> Volume::metadata_at(uint64_t offset) const {
  for (const auto& [from, to] : metadata_) {
    if (offset < from) return {false, from};
    if (offset < to) return {true, to};
  }
  return {false, size_};
}

Result<uint64_t> Volume::place_of(const Record& record) const {
  const uint64_t place = (uint64_t{record.block} + record.attribute_blocks) * block_bytes();
  if (record.size == 0) return place;
  if (place > size_ || record.size > size_ - place) {
    return damaged(
        fmt::format("what the directory record at byte {} leads to lies outside of the "
                    "file system: {} bytes from {} on",
                    record.at, record.size, place));
  }
  return place;
}

Result<void> Volume::read_rock_ridge(const Record& record, bool is_root, RockRidge& rock) {
  if (!rules_.has_rock_ridge) return {};
  Bytes area = record.system_use();
  size_t skipped = rules_.skipped;
  if (is_root) {
    SharingRules same = rules_;
    skipped = shared_area_at(area, same).value_or(skipped);
  }
  area = area.subspan(std::min(skipped, area.size()));
  SNAP_ASSIGN(const std::optional<Continuation> next, rock.add(area));
  if (next) SNAP_TRY(read_chain(rock, *next));
  return rock.finish();
}

Result<void> Volume::read_chain(RockRidge& rock, Continuation next) {
  IoBytes area;
  for (unsigned areas = 0; areas < kMostAreas; ++areas) {
    const uint64_t at = uint64_t{next.block} * block_bytes() + next.offset;
    if (next.length > kSectorBytes || at + next.length > pages_.size()) {
      return damaged(
          fmt::format("a system use area is said to be {} bytes from {} on", next.length, at));
    }
    continued_bytes_ += next.length;
    if (continued_bytes_ > kMostContinued + kContinuedTimes * pages_.size()) {
      return damaged("the system use areas of all records are more than the image can have");
    }
    area.resize(next.length);
    SNAP_TRY(pages_.read(at, area));
    SNAP_ASSIGN(const std::optional<Continuation> found, rock.add(area));
    if (!found) return {};
    next = *found;
  }
  return damaged(fmt::format("a record has more than {} system use areas", kMostAreas));
}

}  // namespace snaptool::iso9660
