// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "libsnap/access/volumes.h"

namespace snaptool {

// Reads a GPT (with 512-byte or 4 KiB sectors; the backup where the primary is damaged) or an MBR
// with its logical partitions. nullopt where there is no partition table: no signature, or a boot
// sector whose table makes no sense, as a file system's. Errors: kCorruption for a table that is
// damaged; those of File. Source: UEFI 2.10, chapter 5; the Linux kernel's block/partitions for
// what it takes.
Result<std::optional<access::PartitionTable>> read_partition_table(File& disk);

// The name of another partition table that the disk has ("Sun", "BSD"), by its magic; empty: none
// that is known. Errors: those of File. Source: the Linux kernel's block/partitions.
Result<std::string_view> unread_partition_table(File& disk);

// What is usually in a partition of this type ("Linux LVM"); empty for types that are not known
// here.
std::string_view partition_type_name(std::string_view type);

}  // namespace snaptool
