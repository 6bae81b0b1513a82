// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/common/damage.h"
#include "libsnap/access/file_system.h"
#include "libsnap/base/result.h"

namespace snaptool::iso9660 {

// The structures of ISO 9660 (formats/iso9660/FORMAT.md). Pure: nothing here reads an image.
// Sources: ECMA-119, 4th edition; the Joliet specification; what Linux 6.1 shows of images.

using Bytes = std::span<const std::byte>;

inline constexpr uint64_t kSectorBytes = 2048;
inline constexpr uint64_t kFirstDescriptor = 16;  // sector
inline constexpr size_t kRootRecordAt = 156;      // in a volume descriptor
inline constexpr size_t kRecordHead = 33;
inline constexpr size_t kMostRecordBytes = 255;

// A number that is there in both byte orders. Linux takes the little-endian one, and so does this.
struct BothOrders {
  uint32_t value = 0;
  bool differ = false;
};
BothOrders both16(const std::byte* from);
BothOrders both32(const std::byte* from);

inline constexpr uint8_t kHidden = 0x01;
inline constexpr uint8_t kDirectory = 0x02;
inline constexpr uint8_t kAssociated = 0x04;
inline constexpr uint8_t kHasRecords = 0x08;
inline constexpr uint8_t kProtected = 0x10;
inline constexpr uint8_t kGoesOn = 0x80;  // another record has more of the same file

// A directory record: a name, and a piece of what has it.
struct Record {
  uint64_t at = 0;  // where it lies in the image: its id
  uint8_t length = 0;
  uint8_t attribute_blocks = 0;  // of an extended attribute record, before the content
  uint32_t block = 0;
  uint32_t size = 0;
  std::optional<access::FileTime> time;
  uint8_t flags = 0;
  uint8_t unit_blocks = 0;  // of an interleaved file
  uint8_t gap_blocks = 0;
  uint16_t volume = 0;  // of a set
  uint8_t name_length = 0;
  bool orders_differ = false;
  std::array<std::byte, kMostRecordBytes> bytes{};

  bool is_folder() const { return (flags & kDirectory) != 0; }
  bool goes_on() const { return (flags & kGoesOn) != 0; }
  bool is_interleaved() const { return unit_blocks != 0 || gap_blocks != 0; }
  std::string_view name() const;
  bool is_self() const { return name_length == 1 && bytes[kRecordHead] == std::byte{0}; }
  bool is_parent() const { return name_length == 1 && bytes[kRecordHead] == std::byte{1}; }
  // What other standards keep behind the name.
  Bytes system_use() const;
};

// The one that `bytes` begin with; they end where the sector does. Errors: kCorruption.
Result<Record> parse_record(Bytes bytes, uint64_t at);

enum class DescriptorType : uint8_t {
  kBoot = 0,
  kPrimary = 1,
  kSupplementary = 2,
  kPartition = 3,
  kTerminator = 255,
};

// A primary or supplementary volume descriptor.
struct Descriptor {
  uint64_t at = 0;  // bytes
  bool is_primary = false;
  bool is_joliet = false;
  std::string label;
  uint32_t blocks = 0;
  uint32_t block_bytes = 0;
  uint16_t volumes = 0;  // of the set
  uint16_t volume = 0;   // which one it is
  uint32_t path_table_bytes = 0;
  std::array<uint32_t, 4> path_tables{};  // blocks; 0: none
  std::string uuid;                       // of its times, as blkid makes it
  bool orders_differ = false;
  Record root;
};

// Requires: a sector. Errors: kCorruption, kUnsupported.
Result<Descriptor> parse_descriptor(Bytes sector, uint64_t at);
// Whether the sector has one of these five letters, behind a byte.
bool has_identifier(Bytes sector, std::string_view identifier);
// Of a whole image, by its head.
bool has_magic(Bytes head);

// Times of 7 bytes, and of 17 digits. Nothing: they say none, or what is no time.
std::optional<access::FileTime> short_time(Bytes bytes);
std::optional<access::FileTime> long_time(Bytes bytes);

// A name of ISO 9660 itself, without version 1 and a dot that only that follows.
std::string plain_name(std::string_view name);
// UTF-16, big endian, as UTF-8; half a pair is kept as if it were a character of its own. Without
// version 1.
std::string joliet_name(std::string_view name);

}  // namespace snaptool::iso9660
