// SPDX-License-Identifier: Apache-2.0
#include "libsnap/access/plain_disk.h"

#include <fmt/format.h>

#include "libsnap/access/facts.h"
#include "libsnap/access/open_image.h"
#include "libsnap/snap/repair/salvage.h"

namespace snaptool::access {
namespace {

std::optional<std::string> kind_of(const DiskFacts& facts) {
  if (facts.group) return "a physical volume of LVM2";
  if (facts.table) {
    const bool is_gpt = facts.table->kind == PartitionTable::Kind::kGpt;
    return fmt::format("a disk with a partition table ({})", is_gpt ? "GPT" : "MBR");
  }
  if (!facts.other_table.empty()) {
    return fmt::format("a disk with a partition table ({})", facts.other_table);
  }
  if (facts.file_system) {
    return fmt::format("a disk with a file system ({})", facts.file_system->type);
  }
  return std::nullopt;
}

// Of another format, by its magic.
Result<std::optional<std::string>> format_of(const Drivers& drivers, File& file) {
  SNAP_ASSIGN(const ImageDriver* const driver, drivers.detect_image(file));
  if (driver->kind == ImageKind::kImage) {
    return std::optional(fmt::format("an image of the format {}", driver->name));
  }
  SNAP_ASSIGN(const KnownFormat* const known, drivers.detect_known(file));
  if (known == nullptr) return std::optional<std::string>();
  return std::optional(std::string(known->label));
}

}  // namespace

Result<std::optional<std::string>> plain_disk_in(const Context& context, File& cow) {
  const std::optional<std::string> none;
  SNAP_ASSIGN(const bool is_store, looks_like_store(cow));
  if (is_store) return none;
  SNAP_ASSIGN(const auto examined, PersistentStore::examine(cow));
  if (examined.store) return none;  // a new one
  SNAP_ASSIGN(const auto guesses, guess_chunk_sizes(cow));
  if (!guesses.empty()) return none;
  SNAP_ASSIGN(auto format, format_of(context.drivers, cow));
  if (format) return format;
  // A backup of a group's metadata is not for this file.
  Policy policy = context.policy;
  policy.group_backup.reset();
  const Context plain{context.drivers, policy,       context.notices,
                      context.cancel,  context.jobs, context.files};
  const std::shared_ptr<File> lent(std::shared_ptr<File>(), &cow);
  SNAP_ASSIGN(const DiskFacts facts, disk_facts(plain, {lent}, LookFor::kFileSystems));
  return kind_of(facts);
}

Result<void> check_no_plain_disk(const Context& context, File& cow) {
  SNAP_ASSIGN(const auto kind, plain_disk_in(context, cow));
  if (!kind) return {};
  return Error(ErrorCode::kCorruption, fmt::format("'{}' is not a COW: it is {}: is it the right "
                                                   "file?",
                                                   cow.name(), *kind));
}

}  // namespace snaptool::access
