// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libsnap/io/file.h"

namespace snaptool::lvm2 {

// The largest metadata text that is read, in bytes; LVM's own areas have 1 MiB unless told
// otherwise.
inline constexpr uint64_t kMostMetadata = 16 * kMiB;

// A physical volume: its label, and the metadata that it carries.
struct PhysicalVolume {
  std::string uuid;                   // 32 characters, without the dashes
  uint64_t device_size = 0;           // bytes, as LVM recorded it
  std::vector<std::string> texts;     // current metadata, one of each sound metadata area
  std::vector<std::string> problems;  // of metadata areas that could not be read, or are too many
  std::vector<ByteRange> reserved;    // the label's sectors and the metadata areas
};

// Whether there is a label in one of the first four sectors, sound or not. Errors: those of File.
Result<bool> has_label(File& device);

// Reads label, PV header and all metadata areas. An area that is ignored or empty gives no text.
// Errors: kNotFound when there is no label; kCorruption when label or PV header are damaged; those
// of File. Damaged metadata areas are no error, but listed: another PV may have the same metadata.
// Source: lib/format_text/layout.h and lib/label of lvm2 2.03; FORMAT.md.
Result<PhysicalVolume> read_physical_volume(File& device);

}  // namespace snaptool::lvm2
