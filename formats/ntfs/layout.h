// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "formats/common/damage.h"
#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::ntfs {

// The structures of NTFS (formats/ntfs/FORMAT.md). Pure: nothing here reads an image.

using Bytes = std::span<const std::byte>;

inline constexpr size_t kBootBytes = 512;
inline constexpr size_t kStride = 512;  // what each sequence number protects, whatever a sector is
inline constexpr size_t kMostRecordBytes = 64 * 1024;

inline constexpr uint64_t kMftRecord = 0;
inline constexpr uint64_t kMirrorRecord = 1;
inline constexpr uint64_t kLogRecord = 2;
inline constexpr uint64_t kVolumeRecord = 3;
inline constexpr uint64_t kRootRecord = 5;
inline constexpr uint64_t kBitmapRecord = 6;
inline constexpr uint64_t kBadRecord = 8;
inline constexpr uint64_t kFirstUserRecord = 24;  // those before are reserved

// Of attributes.
inline constexpr uint32_t kStandardInformation = 0x10;
inline constexpr uint32_t kAttributeList = 0x20;
inline constexpr uint32_t kFileName = 0x30;
inline constexpr uint32_t kObjectId = 0x40;
inline constexpr uint32_t kSecurityDescriptor = 0x50;
inline constexpr uint32_t kVolumeName = 0x60;
inline constexpr uint32_t kVolumeInformation = 0x70;
inline constexpr uint32_t kData = 0x80;
inline constexpr uint32_t kIndexRoot = 0x90;
inline constexpr uint32_t kIndexAllocation = 0xa0;
inline constexpr uint32_t kBitmap = 0xb0;
inline constexpr uint32_t kReparsePoint = 0xc0;
inline constexpr uint32_t kExtendedAttributes = 0xe0;
inline constexpr uint32_t kLoggedStream = 0x100;

inline constexpr uint16_t kIsCompressed = 0x00ff;  // of an attribute's flags: by which method
inline constexpr uint16_t kIsEncrypted = 0x4000;
inline constexpr uint16_t kIsSparse = 0x8000;

// DOS attributes.
inline constexpr uint32_t kDosSystem = 0x4;
inline constexpr uint32_t kDosSparse = 0x200;
inline constexpr uint32_t kDosReparse = 0x400;
inline constexpr uint32_t kDosCompressed = 0x800;
inline constexpr uint32_t kDosOffline = 0x1000;
inline constexpr uint32_t kDosRecallOnAccess = 0x400000;

struct Boot {
  uint32_t sector_bytes = 512;
  unsigned cluster_bits = 12;  // a cluster has 2^this bytes
  uint64_t sectors = 0;        // without the copy of the boot sector behind them
  uint64_t clusters = 0;
  uint64_t mft_cluster = 0;
  uint64_t mirror_cluster = 0;
  uint32_t record_bytes = 1024;
  uint64_t serial = 0;

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
};

// A record's number and how often it was another file's: 48 and 16 bits.
struct Reference {
  uint64_t id = 0;
  uint16_t sequence = 0;
  friend bool operator==(const Reference&, const Reference&) = default;
};
Reference reference_of(uint64_t raw);

struct RecordHead {
  uint16_t sequence = 0;
  bool is_used = false;
  bool is_folder = false;
  Reference base;  // id 0 and sequence 0: it is a base record itself
  size_t attributes = 0;
  size_t used_bytes = 0;
  bool is_base() const { return base.id == 0 && base.sequence == 0; }
};

struct Attribute {
  uint32_t type = 0;
  uint16_t flags = 0;
  uint16_t instance = 0;
  Bytes name;         // UTF-16
  size_t offset = 0;  // in its record
  bool is_resident = true;
  Bytes value;             // if resident; else:
  uint64_t first = 0;      // cluster in the stream
  uint64_t end = 0;        // past the last one
  unsigned unit_bits = 0;  // clusters that are compressed together: 2^this
  uint64_t size = 0;       // bytes; this and the next only where first is 0
  uint64_t initialized = 0;
  Bytes runs;
};

// What a folder's entry has of a name, and what the file has.
struct FileName {
  Reference parent;
  uint32_t dos = 0;
  bool is_folder = false;
  uint8_t space = 0;
  Bytes name;  // UTF-16
};
inline constexpr uint8_t kPosixName = 0;
inline constexpr uint8_t kWindowsName = 1;
inline constexpr uint8_t kDosName = 2;

struct StandardInformation {
  access::FileTime created;
  access::FileTime modified;
  access::FileTime changed;
  access::FileTime accessed;
  uint32_t dos = 0;
  uint32_t owner = 0;
  uint32_t security = 0;
};

// Where an attribute lies that has a place in a file's list of them.
struct ListEntry {
  uint32_t type = 0;
  uint16_t instance = 0;
  uint64_t first = 0;
  Reference record;
  Bytes name;
};

// A run of clusters, in the order of a stream.
struct Run {
  uint64_t first = 0;  // cluster in the stream
  uint64_t length = 0;
  std::optional<uint64_t> place;  // cluster of the volume; nothing: a hole
};

bool has_boot_magic(Bytes head);
// Requires: kBootBytes. Errors: kCorruption, kUnsupported.
Result<Boot> parse_boot(Bytes bytes);

// Puts back what the ends of its sectors hold, and says whether all were written together. `magic`:
// of 4 bytes. Errors: kCorruption.
Result<void> mend_sectors(std::span<std::byte> block, std::string_view magic,
                          const std::string& what);

// Of a record that was mended. Errors: kCorruption.
Result<RecordHead> parse_record(Bytes record, uint64_t id);
// The attribute at that offset; nothing: the end. Errors: kCorruption.
Result<std::optional<Attribute>> parse_attribute(Bytes record, const RecordHead& head, uint64_t id,
                                                 size_t offset, size_t& next);
// Errors: kCorruption.
Result<FileName> parse_file_name(Bytes value);
Result<StandardInformation> parse_standard(Bytes value, uint64_t id);
// Errors: kCorruption; those of visit.
Result<void> visit_list(Bytes list, uint64_t id,
                        const std::function<Result<void>(const ListEntry&)>& visit);
// Every run, in order; visit says whether to go on. Errors: kCorruption; those of visit.
Result<void> visit_mapping(const Attribute& attribute, uint64_t id, uint64_t clusters,
                           const std::function<Result<bool>(const Run&)>& visit);

access::FileTime time_of(uint64_t raw);

}  // namespace snaptool::ntfs
