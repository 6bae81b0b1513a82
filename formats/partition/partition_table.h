// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsnap/io/file.h"

namespace snaptool {

struct Partition {
  unsigned number = 0;  // as the kernel counts: 1 to 4 for MBR's primary ones, 5 and up for logical
  uint64_t offset = 0;  // bytes from the start of the disk
  uint64_t length = 0;  // bytes, at least 1
  std::string type;     // MBR: "0x83"; GPT: the GUID, in upper case
  std::string name;     // GPT only, UTF-8
  std::string uuid;     // GPT only
  bool passes_end = false;  // of the disk: a file that was cut
  unsigned overlaps = 0;    // the number of one that has bytes in common with it; 0: none
};

struct PartitionTable {
  enum class Kind { kMbr, kGpt } kind = Kind::kMbr;
  uint64_t sector_size = kSectorSize;  // bytes
  std::string id;                      // MBR: "0x1234abcd"; GPT: the disk's GUID
  std::vector<Partition> partitions;   // by number; extended ones (containers) are left out
  std::vector<std::string> warnings;   // what was wrong and could be got round
};

// Reads a GPT (with 512-byte or 4 KiB sectors; the backup where the primary is damaged) or an MBR
// with its logical partitions. nullopt where there is no partition table: no signature, or a boot
// sector whose table makes no sense, as a file system's. Errors: kCorruption for a table that is
// damaged; those of File. Source: UEFI 2.10, chapter 5; the Linux kernel's block/partitions for
// what it takes.
Result<std::optional<PartitionTable>> read_partition_table(File& disk);

// The name of another partition table that the disk has ("Sun", "BSD"), by its magic; empty: none
// that is known. Errors: those of File. Source: the Linux kernel's block/partitions.
Result<std::string_view> unread_partition_table(File& disk);

// What is usually in a partition of this type ("Linux LVM"); empty for types that are not known
// here.
std::string_view partition_type_name(std::string_view type);

}  // namespace snaptool
